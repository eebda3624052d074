"Writers of the forms in which a signal lies on disk, each from its format's own description and none from what reads it"
import gzip, io
from pathlib import Path

import numpy as np

# WFDB: bits of a sample, and the value that stands for none
BITS = {'8': 32, '16': 16, '24': 24, '32': 32, '61': 16, '80': 8, '160': 16, '212': 12, '310': 10, '311': 10, '508': 8, '516': 16, '524': 24}
FLAC = ('508', '516', '524')


def nothing(fmt): return -2**(BITS[fmt] - 1)

def pack(
    fmt, # As a header names it
    frames, # One array a signal: (frames, samples a frame), whole numbers
) -> bytes: # Of a signal file
    "The samples of a WFDB signal file, which takes one frame of all signals after the other"
    if fmt == '8': frames = [np.diff(x.ravel(), prepend=x.ravel()[:1]).reshape(x.shape) for x in frames]
    x = np.concatenate(frames, axis=1).ravel().astype(np.int64)
    if fmt in FLAC: return _flac(fmt, frames)
    if fmt == '8': return x.astype(np.int8).tobytes()
    if fmt == '80': return (x + 128).astype(np.uint8).tobytes()
    if fmt == '160': return (x + 32768).astype('<u2').tobytes()
    if fmt == '24': return x.astype('<i4').view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    if fmt in ('16', '61', '32'): return x.astype({'16': '<i2', '61': '>i2', '32': '<i4'}[fmt]).tobytes()
    if fmt == '212':
        n, x = len(x), np.append(x, 0) if len(x) % 2 else x
        a, b = x[::2] & 0xfff, x[1::2] & 0xfff
        return np.stack([a & 255, a >> 8 | b >> 8 << 4, b & 255], 1).astype(np.uint8).tobytes()[:-(-3*n//2)]
    a, b, c = np.append(x, np.zeros(-len(x) % 3, int)).reshape(-1, 3).T & 0x3ff
    if fmt == '311': return (a | b << 10 | c << 20).astype('<u4').tobytes()
    return np.stack([(a & 127) << 1 | (c & 31) << 11 | a >> 7 << 8, (b & 127) << 1 | c >> 5 << 11 | b >> 7 << 8], 1).astype('<u2').tobytes() # 310

def _flac(fmt, frames):
    import soundfile
    bits, out = BITS[fmt], io.BytesIO()
    x = np.stack([f.ravel() for f in frames], 1)
    wide = (x << (16 - bits)).astype(np.int16) if bits <= 16 else (x << 8).astype(np.int32)
    soundfile.write(out, wide, 96000, format='FLAC', subtype={8: 'PCM_S8', 16: 'PCM_16', 24: 'PCM_24'}[bits])
    return out.getvalue()

def checksum(x): return (int(np.sum(x, dtype=np.int64)) + 32768) % 65536 - 32768

def signal_line(file, fmt, x, gain='200/mV', name='II', zero=0):
    "The line of a header for the signal `x`, (frames, samples a frame)"
    return f'{file} {fmt} {gain} 16 {zero} {x.ravel()[0]} {checksum(x)} 0 {name}'

def write_record(folder, name, fs, lines, length=None, data=(), encoding='utf-8'):
    "A header with the lines of its signals, and their files; gives the record's path"
    first = f'{name} {len(lines)} {fs}' + ('' if length is None else f' {length}')
    (Path(folder)/f'{name}.hea').write_bytes(('\n'.join([first, *lines]) + '\n').encode(encoding))
    for file, content in dict(data).items(): (Path(folder)/file).write_bytes(content)
    return Path(folder)/name


# EDF: 256 bytes, 256 for each signal, then records of whole numbers

def edf_bytes(
    signals, # One (records, samples a record) array of whole numbers each
    duration=1, # Of a record, s
    labels=None, units='mV', # One for each signal, or one for all
    digital=(-32768, 32767), physical=(-5, 5), # (at the least number, at the greatest)
    records=None, # As the head says; default: those that there are
    bdf=False, onsets=None, # Of each record, as EDF+ writes them
    patient='X X X X', encoding='latin-1',
) -> bytes:
    "An EDF or BDF file; one of the + kind, with its signal of annotations, where `onsets` are given"
    n, count = len(signals), len(signals[0])
    field = lambda text, width: str(text).encode(encoding)[:width].ljust(width)
    each = lambda v, i: v[i] if isinstance(v, list) else v
    labels, kind, wide = labels or [f'ECG {i + 1}' for i in range(n)], 'BDF' if bdf else 'EDF', 3 if bdf else 2
    samples, mark = [x.shape[1] for x in signals], 0 if onsets is None else 1
    rows = [(l, each(units, i), *each(physical, i), *each(digital, i), samples[i]) for i, l in enumerate(labels)]
    if mark: rows.append((f'{kind} Annotations', '', -1, 1, *((-2**23, 2**23 - 1) if bdf else (-32768, 32767)), 24))
    first = (b'\xffBIOSEMI' if bdf else field('0', 8)) + field(patient, 80) + field('Startdate 01-JAN-2024 X X X', 80) + field('01.01.24', 8) + field('00.00.00', 8)
    first += field(256*(len(rows) + 1), 8) + field(f'{kind}+C' if mark else '24BIT' if bdf else '', 44) + field(count if records is None else records, 8) + field(duration, 8) + field(len(rows), 4)
    label, unit, low, high, least, most, per_record = zip(*rows)
    for values, width in ((label, 16), ([''], 80), (unit, 8), (low, 8), (high, 8), (least, 8), (most, 8), ([''], 80), (per_record, 8), ([''], 32)):
        first += b''.join(field(v, width) for v in (values if len(values) == len(rows) else [*values]*len(rows)))
    body = b''
    for i in range(count):
        for x in signals: body += x[i].astype('<i4').view(np.uint8).reshape(-1, 4)[:, :wide].tobytes()
        if mark: body += f'+{onsets[i]}\x14\x14\0'.encode().ljust(24*wide, b'\0')
    return first + body


# Text

def text_bytes(rows, head=(), sep=',', decimal='.', digits=4, end='\n', encoding='utf-8', trailing=False, packed=False, missing='nan', last=True):
    "Rows of numbers or words, with lines of a head above them"
    def word(v):
        if isinstance(v, str): return v
        return missing if v != v else f'{v:.{digits}f}'.replace('.', decimal)
    lines = [*head, *(sep.join(map(word, r)) + sep*trailing for r in rows)]
    raw = (end.join(lines) + end*last).encode(encoding)
    return gzip.compress(raw, mtime=0) if packed else raw
