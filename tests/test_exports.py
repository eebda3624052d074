"Files as other people's devices and programs export them: each kind with its right answer, sample by sample, or the words of its refusal"
import datetime as dt

import numpy as np, pandas as pd, pytest, wfdb

from ganad.data.files import RecordError, choose_lead, open_record
from ganad.data.toys import simulate_ecg

N = 7500
Y = simulate_ecg(duration=30, fs=250, subject=3, seed=5).signal.astype(float) # mV; what a case calls its rate is up to the case
SLOW = np.sin(np.arange(N)/400)
NOISE = np.random.default_rng(0).normal(size=N)
START = dt.datetime(2024, 5, 1, 23, 59, 50)

def words(x, digits=4, comma=False):
    "Numbers as a file writes them"
    text = [f'{v:.{digits}f}' for v in x]
    return [w.replace('.', ',') for w in text] if comma else text

def lines(*columns, sep=',', end=''): return ''.join(sep.join(row) + f'{end}\n' for row in zip(*columns))
def at(form, fs=250): return [form(i/fs) for i in range(N)]
def seconds(fs=250): return at('{:.3f}'.format, fs)
def dates(form, fs=250): return [(START + dt.timedelta(seconds=i/fs)).strftime(form) for i in range(N)]
def thousandths(column): return [w[:-3] for w in column] # of what strftime writes as microseconds

def good(name, write, rate=250, leads=('ECG',), unit='mV', wanted=None, step=1e-4, said=None, notes='', file='a.csv'):
    "A file, and what reading it must come to: `wanted` has one array a lead, `notes` a word of the notes ('' for no note)"
    return pytest.param(file, write, dict(rate=rate, leads=leads and list(leads), unit=unit, wanted=wanted, step=step, said=said, notes=notes), id=name)

def bad(name, write, *told, said=None, file='a.csv'):
    "A file, and the words of its refusal"
    return pytest.param(file, write, dict(told=told, said=said), id=name)

def check(folder, file, write, right):
    content = write()
    path = folder/file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if 'told' in right:
        with pytest.raises(RecordError) as refused: open_record(path, right['said'])
        line = str(refused.value)
        assert '\n' not in line and all(w in line for w in right['told']), line
        return
    source = open_record(path, right['said'])
    same_signal(source, **{k: v for k, v in right.items() if k != 'said'})

def same_signal(source, rate, leads, unit, wanted, step, notes):
    wanted = np.stack([Y] if wanted is None else wanted, 1)
    leads = leads or source.leads
    units = [unit]*len(leads) if isinstance(unit, str) else list(unit)
    assert source.leads == leads and [source.unit_of(i) for i in range(len(leads))] == units
    assert source.fs == pytest.approx(rate, rel=1e-6) and source.length == len(wanted)
    x = source.read(0, source.length)
    assert (np.isnan(x) == np.isnan(wanted)).all()
    assert np.nanmax(np.abs(x - wanted)) <= .51*step + 1e-6*np.nanmax(np.abs(wanted))
    assert notes in ' '.join(source.notes) if notes else not source.notes, source.notes
FILE = 'units of the file'

def table(*kinds): return pytest.mark.parametrize('file, write, right', [case for kind in kinds for case in kind])


# Watches: head and numbers in the language of the telephone

def watch(*head, end='\n'): return '\n'.join(head + ('', '')).replace('\n', end) + lines(words(1000*Y, 3, comma=True)).replace('\n', end)
WATCH = dict(rate=512, step=1e-6)
WATCHES = [
    good('French', lambda: watch('Nom,Jean Dupont', 'Date de naissance,"1 févr. 1970"', 'Classification,Rythme sinusal', 'Symptômes,', 'Version du logiciel,1.90', 'Appareil,"Watch6,2"', 'Taux d’échantillonnage,512 hertz', '', '', 'Dérivation,Dérivation I', 'Unité,µV'), leads=['Dérivation I'], **WATCH),
    good('Italian', lambda: watch('Nome,Mario Rossi', 'Frequenza di campionamento,512 hertz', '', '', 'Derivazione,Derivazione I', 'Unità,µV'), leads=['Derivazione I'], **WATCH),
    good('Spanish', lambda: watch('Nombre,Juan Pérez', 'Dispositivo,"Watch6,2"', 'Frecuencia de muestreo,512 hercios', '', '', 'Derivación,Derivación I', 'Unidad,µV'), leads=['Derivación I'], **WATCH),
    good('Dutch', lambda: watch('Naam,Jan', 'Apparaat,"Watch6,2"', 'Meetfrequentie,512 hertz', '', '', 'Afleiding,Afleiding I', 'Eenheid,µV'), leads=['Afleiding I'], **WATCH),
    good('Japanese', lambda: watch('名前,山田', 'サンプルレート,512ヘルツ', '', '', '誘導,第I誘導', '単位,µV'), leads=['第I誘導'], **WATCH),
    good('Portuguese', lambda: watch('Nome,João', 'Taxa de amostragem,512 hertz', '', '', 'Derivação,Derivação I', 'Unidade,µV'), leads=None, **WATCH),
    good('Polish', lambda: watch('Imię,Jan', 'Częstotliwość próbkowania,512 Hz', '', '', 'Odprowadzenie,Odprowadzenie I', 'Jednostka,µV'), leads=None, **WATCH),
    good('Swedish', lambda: watch('Namn,Ove', 'Samplingshastighet,512 hertz', '', '', 'Avledning,Avledning I', 'Enhet,µV'), leads=None, **WATCH),
    good('Korean', lambda: watch('이름,김', '샘플링 속도,512Hz', '', '', '리드,리드 I', '단위,㎶'), leads=None, **WATCH),
    good('German, with semicolons', lambda: watch('Name;Max', 'Geburtsdatum;01.02.1970', 'Abtastrate;512 Hertz', '', 'Ableitung;Ableitung I', 'Einheit;µV'), leads=['Ableitung I'], **WATCH),
    good('blank lines ended by CR', lambda: watch('Sample Rate,512 hertz', '', 'Lead,Lead I', 'Unit,µV', end='\r'), leads=['Lead I'], **WATCH)]

@table(WATCHES)
def test_watches(file, write, right, tmp_path): check(tmp_path, file, write, right)


# Boards and straps

def shimmer(sep, *head, end=True):
    columns = [at(lambda t: f'{1714557600000 + 1000*t:.3f}', 512), words(Y/2, 6), words(Y, 6), words(9.81 + SLOW, 2)]
    return f'sep={sep}\n' + ''.join(sep.join(h) + sep*end + '\n' for h in head) + lines(*columns, sep=sep, end=sep*end)
SHIMMER = [f'Shimmer_B64E_{n}_CAL' for n in ('Timestamp_Unix', 'ECG_LA-RA_24BIT', 'ECG_LL-RA_24BIT', 'Accel_LN_X')]
SHIMMER_UNITS = ['ms', 'mV', 'mV', 'm/(s^2)']
SHIMMER_RIGHT = dict(rate=512, leads=SHIMMER[1:], unit=['mV', 'mV', FILE], wanted=[Y/2, Y, 9.81 + SLOW], step=.01)

def openbci(head, more=(), fs=250): return '\n'.join(head) + '\n' + lines(at(lambda t: str(round(t*fs) % 256), fs), words(1000*Y, 2), *[['0.00']*N]*7, *more, sep=', ')
def ganglion():
    "Stamps that are those of blocks, in no order within them"
    stamps = [1714557600 + i//10*10/200 + .01*abs(n) % .01 for i, n in enumerate(NOISE)]
    head = ['%OpenBCI Raw EXG Data', '%Number of channels = 4', '%Sample Rate = 200 Hz', '%Board = OpenBCI_GUI$BoardGanglionNative', 'Sample Index, ' + ', '.join(f'EXG Channel {i}' for i in range(8)) + ', Timestamp, Marker, Timestamp (Formatted)']
    formed = [dt.datetime.fromtimestamp(t, dt.timezone.utc).strftime('%Y-%m-%d %H:%M:%S.%f')[:-3] for t in stamps]
    return openbci(head, (words(stamps, 6), ['0.0']*N, formed), 200)
V4 = ['%OpenBCI Raw EEG Data', '%', '%Sample Rate = 250.0 Hz', '%First Column = SampleIndex', '%Last Column = Timestamp ', '%Other Columns = EEG data in microvolts followed by Accel Data (in G) interleaved with Aux Data']

BOARDS = [
    *[good(f'Shimmer, separated by {n}', lambda s=s: shimmer(s, SHIMMER, SHIMMER_UNITS), **SHIMMER_RIGHT) for n, s in (('tabs', '\t'), ('commas', ','))],
    good('Shimmer, four lines of head', lambda: shimmer(',', ['Shimmer_B64E']*4, ['Timestamp', 'ECG_LA-RA', 'ECG_LL-RA', 'Accel_X'], ['CAL']*4, SHIMMER_UNITS), **SHIMMER_RIGHT | dict(leads=['ECG_LA-RA', 'ECG_LL-RA', 'Accel_X'])),
    good('OpenBCI 4', lambda: openbci(V4, (at(lambda t: f'10:00:{t:06.3f}'), at(lambda t: str(1714557600000 + round(1000*t))))), file='a.txt', leads=['signal'], step=1e-5),
    good('OpenBCI Ganglion', ganglion, file='a.txt', rate=200, leads=['EXG Channel 0'], unit=FILE, wanted=[1000*Y], step=.01, notes='uneven'),
    good('OpenBCI head over a named column', lambda: '\n'.join(V4) + '\nSample Index, EXG Channel 0\n' + lines(at(lambda t: str(round(t*250) % 256)), words(1000*Y, 2), sep=', '), file='a.txt', leads=['EXG Channel 0'], step=1e-5)]
STRAPS = [
    good('a column called sample', lambda: 'timestamp,sample\n' + lines(at(lambda t: f'{1000*t:.0f}', 125), words(1000*Y, 0)), rate=125, leads=['sample'], unit=FILE, wanted=[1000*Y], step=1),
    *[good(f'start and rate in the first lines, {said} said', lambda: '1714557600.000000\n256.000000\n' + lines(words(Y, 6)), rate=256, said=said, leads=['signal'], unit=FILE, step=1e-6) for said in (None, 256)],
    good('! where the electrodes were off', lambda: 't,ECG\n' + lines(seconds(), ['!' if 2000 <= i < 2050 else w for i, w in enumerate(words(Y))]), unit=FILE, wanted=[np.where((np.arange(N) >= 2000) & (np.arange(N) < 2050), np.nan, Y)], notes=''),
    bad('one list in one field', lambda: 'date,type,signal\n2024-05-01T10:00:00+02:00,ecg,"[' + ','.join(words(1000*Y, 0)) + ']"\n', 'one column a lead', said=300)]

@table(BOARDS, STRAPS)
def test_boards_and_straps(file, write, right, tmp_path): check(tmp_path, file, write, right)


# Laboratory programs

def biopac(times, per='2 msec/sample', end='', counts=True, time=True):
    head = f"subject01.acq\n{per}\n2 channels\nECG - ECG100C\nmV\nRSP, RSP100C\nVolts\n{times[0] + chr(9) if time else ''}CH1\tCH2{end}\n"
    if counts: head += '\t'*time + f'{N}\t{N}{end}\n'
    return head + lines(*([at(times[1], 500)] if time else []), words(Y, 5), words(SLOW), sep='\t', end=end)
BIOPAC = dict(file='a.txt', rate=500, leads=['ECG - ECG100C', 'RSP, RSP100C'], wanted=[Y, 1000*SLOW], step=.1)
MILLI, SEC, MIN = ('milliSec', lambda t: f'{1000*t:g}'), ('sec', '{:.3f}'.format), ('min', lambda t: f'{t/60:.8f}')

def labchart(interval='0.002 s', across='10.000 mV', scale=1., time=True, remark=False):
    head = f'Interval=\t{interval}\nExcelDateTime=\t4.3749464322749809e+04\t10/11/2019 11:08:37.485584\nTimeFormat=\tStartOfBlock\nDateFormat=\t\nChannelTitle=\tECG\tResp\nRange=\t{across}\t10.000 V\nUnitName=\t*\t*\nTopValue=\t*\t*\nBottomValue=\t*\t*\n'
    ends = ['\t#* stim' if remark and i == 100 else '' for i in range(N)]
    second = [w + e for w, e in zip(words(SLOW), ends)]
    return (head + lines(*([seconds(500)] if time else []), words(scale*Y, 5), second, sep='\t')).replace('\n', '\r\n')
LABCHART = dict(file='a.txt', rate=500, leads=['ECG', 'Resp'], wanted=[Y, 1000*SLOW], step=.1)

LABORATORIES = [
    *[good(f'AcqKnowledge in {t[0]}{", tabs at the ends" if e else ""}', lambda t=t, e=e: biopac(t, end=e), **BIOPAC) for t in (MILLI, SEC, MIN) for e in ('', '\t')],
    good('AcqKnowledge without times', lambda: biopac(SEC, time=False), **BIOPAC),
    good('AcqKnowledge without counts', lambda: biopac(SEC, counts=False), **BIOPAC),
    good('AcqKnowledge with commas between', lambda: biopac(SEC).replace('\t', ','), **BIOPAC | dict(file='a.csv')),
    good('AcqKnowledge with decimal commas', lambda: biopac(SEC).replace('.', ','), **BIOPAC),
    good('Vernier', lambda: 'Latest: Time (s)\tLatest: EKG (mV)\n' + lines(seconds(), words(Y), sep='\t'), file='a.txt', leads=['Latest: EKG']),
    good('Finapres', lambda: 'Time (s);ECG I (mV);reBAP (mmHg)\n' + lines(seconds(), words(Y), words(80 + SLOW), sep=';'), leads=['ECG I', 'reBAP (mmHg)'], unit=['mV', FILE], wanted=[Y, 80 + SLOW]),
    good('LabChart', labchart, **LABCHART),
    good('LabChart with decimal commas', lambda: labchart().replace('.', ','), **LABCHART),
    good('LabChart in microvolts', lambda: labchart(across='10000 µV', scale=1000), **LABCHART),
    good('LabChart without times', lambda: labchart('2 ms', time=False), **LABCHART),
    good('LabChart with a remark', lambda: labchart(remark=True), **LABCHART),
    bad('LabChart, two blocks', lambda: labchart() + labchart(), 'a.txt', 'run backwards', file='a.txt')]

@table(LABORATORIES)
def test_laboratories(file, write, right, tmp_path): check(tmp_path, file, write, right)


# What PhysioNet's rdsamp prints

RDSAMP = dict(file='a.txt', rate=360, leads=['MLII', 'V1'], step=.001, wanted=[Y, Y/2])
PHYSIONET = [
    good('times and units', lambda: '       Elapsed time   MLII     V1\n   hh:mm:ss.mmm    (mV)   (mV)\n' + lines(at(lambda t: f'    {int(t/60)}:{t % 60:06.3f}', 360), words(Y, 3), words(Y/2, 3), sep='   '), **RDSAMP),
    good('numbers of samples', lambda: '   sample #      MLII        V1\n' + lines([f'{i:8d}' for i in range(N)], words(200*Y + 1024, 0), words(1024 - 100*Y, 0), sep='\t'), **RDSAMP | dict(said=360, unit=FILE, wanted=[200*Y + 1024, 1024 - 100*Y], step=1)),
    good('numbers of samples and units', lambda: '   samp#\tMLII\tV1\n \t(mV)\t(mV)\n' + lines(map(str, range(N)), words(Y, 3), words(Y/2, 3), sep='\t'), **RDSAMP | dict(said=360)),
    good('quoted, as the web writes it', lambda: "'Elapsed time','MLII','V1'\n'hh:mm:ss.mmm','mV','mV'\n" + lines(at(lambda t: f"'{int(t/60)}:{t % 60:06.3f}'", 360), words(Y, 3), words(Y/2, 3)), **RDSAMP),
    good('times in brackets', lambda: lines(at(lambda t: f'[{t:.3f}]', 360), words(Y, 3), sep=' '), **RDSAMP | dict(leads=['signal'], unit=FILE, wanted=[Y], said=360)),
    good('times of day in brackets', lambda: 'Time Date MLII V1\n' + lines(at(lambda t: f'[12:00:{t:06.3f}', 360), ['01/05/2024]']*N, words(Y, 3), words(Y/2, 3), sep=' '), **RDSAMP | dict(unit=FILE))]

@table(PHYSIONET)
def test_rdsamp(file, write, right, tmp_path): check(tmp_path, file, write, right)


# Spreadsheets, and thousands

def grouped(x, mark=','): return [f'{v:,}'.replace(',', mark) for v in np.rint(x).astype(int).tolist()]
def quoted(column): return [f'"{w}"' for w in column]
SPREADSHEETS = [
    good('date and time in two columns, decimal commas', lambda: 'Date;Heure;ECG (mV)\n' + lines(dates('%d/%m/%Y'), [w[:-3].replace('.', ',') for w in dates('%H:%M:%S.%f')], words(Y, comma=True), sep=';')),
    good('a German date past midnight', lambda: 'Zeit;EKG [mV]\n' + lines(thousandths(dates('%d.%m.%Y %H:%M:%S,%f')), words(Y, comma=True), sep=';'), leads=['EKG']),
    good('an American date past midnight', lambda: 'time,ECG [mV]\n' + lines(thousandths(dates('%m/%d/%Y %H:%M:%S.%f')), words(Y))),
    good('a date with slashes, the day first', lambda: 'time,ECG [mV]\n' + lines(thousandths(dates('%d/%m/%Y %H:%M:%S.%f')), words(Y))),
    good('days since 1900', lambda: 'time,ECG [mV]\n' + lines(at(lambda t: f'{45413 + t/86400:.10f}'), words(Y))),
    good('a fraction of a day', lambda: 'time,ECG [mV]\n' + lines(at(lambda t: f'{.5 + t/86400:.10f}'), words(Y))),
    bad('thousands in quotes', lambda: 'ECG (µV)\n' + lines(quoted(grouped(1000*Y))), 'a.csv', "'1,", said=250),
    bad('nothing but thousands', lambda: '"ECG (µV)"\n' + lines(quoted(grouped(1000*Y + 8000))), 'thousands', said=250),
    bad('thousands with points', lambda: 'ECG (µV)\n' + lines(grouped(1000*Y, '.')), 'thousands', said=250),
    good("R's write.csv", lambda: '"","time","ECG (mV)"\n' + lines([f'"{i + 1}"' for i in range(N)], seconds(), words(Y))),
    good("R's write.csv2", lambda: '"";"time";"ECG (mV)"\n' + lines([f'"{i + 1}"' for i in range(N)], [w.replace('.', ',') for w in seconds()], words(Y, comma=True), sep=';')),
    good('a query of a data base', lambda: ' time  |  ECG (mV)  \n-------+-------\n' + lines(seconds(), words(Y), sep=' | ') + f'({N} rows)\n', notes='without a time', file='a.txt'),
    good('a table of Markdown', lambda: '| time | ECG (mV) |\n|---|---|\n' + ''.join(f'| {t} | {w} |\n' for t, w in zip(seconds(), words(Y))), file='a.txt'),
    good('sep= behind a mark, units in a row', lambda: ('\ufeffsep=;\nZeit;EKG\ns;mV\n' + lines(seconds(), words(Y), sep=';')).replace('\n', '\r\n'), leads=['EKG']),
    good('UTF-16', lambda: ('Zeit\tEKG (µV)\r\n' + lines(seconds(), words(1000*Y), sep='\t')).encode('utf-16'), leads=['EKG'], file='a.txt', step=1e-7),
    good('Mac Roman', lambda: ('Zeit;EKG (µV)\n' + lines(seconds(), words(1000*Y), sep=';')).replace('\n', '\r').encode('mac-roman'), leads=['EKG'], step=1e-7),
    good('Shift-JIS', lambda: ('時間,心電図(mV)\n' + lines(seconds(), words(Y))).encode('shift-jis'), leads=None)]

@table(SPREADSHEETS)
def test_spreadsheets(file, write, right, tmp_path): check(tmp_path, file, write, right)


# Times

def timed(column, head='time,ECG [mV]'): return head + '\n' + lines(column, words(Y))
def joined(a, b): return [f'{i/a if i < 3000 else 3000/a + (i - 3000)/b:.3f}' for i in range(N)]
def without(row, every=997): return ''.join(l + '\n' for i, l in enumerate(row) if i % every != 500)
LOST = np.where(np.arange(N) % 997 == 500, np.nan, Y)
PARTS = [(f'{h} in two or three columns', h, f) for h, f in (
    ('Time,ms', lambda i: f'10:00:{i//250:02d},{i % 250*4}'), ('sec,usec', lambda i: f'{1714557600 + i//250},{i % 250*4000}'), ('min,sec,ms', lambda i: f'{i//15000},{i//250 % 60},{i % 250*4}'))]
TIMES = [
    good('minutes', lambda: timed(at(lambda t: f'{t/60:.8f}'), 'time (min),ECG (mV)')),
    good('hours', lambda: timed(at(lambda t: f'{t/3600:.10f}'), 'Time [h],ECG (mV)')),
    good('the fraction behind a colon', lambda: timed(thousandths(dates('%H:%M:%S:%f')))),
    good('whole Unix seconds', lambda: timed(at(lambda t: str(1714557600 + int(t)))), notes='uneven'),
    good('halves of a day without its date', lambda: timed([d[:-6] + d[-3:] for d in dates('%I:%M:%S.%f %p')])),
    good('a date without marks', lambda: timed(thousandths(dates('%Y%m%dT%H%M%S.%f')))),
    good('a month in letters', lambda: timed(thousandths(dates('%d-%b-%Y %H:%M:%S.%f')))),
    good('date and time in two columns', lambda: timed(map(','.join, zip(dates('%d %b %Y'), thousandths(dates('%H:%M:%S.%f')))), 'Date,Time,ECG [mV]')),
    good('with a zone', lambda: timed([(START.replace(tzinfo=dt.timezone.utc) + dt.timedelta(seconds=i/250)).isoformat() for i in range(N)])),
    good('whole milliseconds at 512 Hz', lambda: timed(at(lambda t: str(int(1000*t)), 512)), rate=512),
    good('behind the signal', lambda: 'ECG [mV],ms\n' + lines(words(Y), at(lambda t: str(123456 + round(1000*t))))),
    good('nanoseconds', lambda: timed(at(lambda t: str(1714557600000000000 + round(1000*t)*10**6)))),
    good('jitter', lambda: timed([f'{i/250 + .001*n:.6f}' for i, n in enumerate(NOISE)])),
    good('a time delta', lambda: pd.DataFrame({'ECG [mV]': words(Y)}, index=pd.to_timedelta(np.arange(N)*4, unit='ms')).to_csv()),
    good('seconds in words', lambda: timed([f'{t:g} sec' for t in np.arange(N)/250], 'Time,ECG [mV]')),
    good('a time on the first line of each packet', lambda: timed([w if i % 25 == 0 else '' for i, w in enumerate(seconds())])),
    *[good(name, lambda h=h, f=f: timed(map(f, range(N)), f'{h},ECG [mV]'), notes='uneven') for name, h, f in PARTS],
    good('lines that were lost', lambda: 'time,ECG [mV]\n' + without(timed(seconds()).splitlines()[1:]), wanted=[LOST], notes='jump'),
    good('lines twice', lambda: 'time,ECG [mV]\n' + ''.join(f'{l}\n'*(2 if i in (1000, 2000) else 1) for i, l in enumerate(timed(seconds()).splitlines()[1:])), notes='2 lines'),
    good('whole seconds in halves of a day', lambda: timed(dates('%I:%M:%S %p')), notes='250 Hz'),
    good('whole seconds, one of them bad', lambda: timed(['17145' if i == 3000 else w for i, w in enumerate(at(lambda t: str(1714557600 + int(t))))]), notes='250 Hz'),
    bad('in no order', lambda: 't,ECG\n' + lines(np.random.default_rng(1).permutation(seconds()).tolist(), words(Y)), "'t'", 'no order', said=250),
    bad('rows of two numbered signals', lambda: 'time,channel,value\n' + ''.join(f'{t},1,{w}\n{t},2,0.1\n' for t, w in zip(seconds(), words(Y))), "'channel'"),
    bad('two rates', lambda: timed(joined(250, 500)), 'change their pace'),
    bad('falling', lambda: timed(seconds()[::-1]), "'time' fall"),
    bad('starting again', lambda: timed(at(lambda t: f'{t % 10:.3f}')), 'a.csv', 'backwards'),
    bad('rows of two signals', lambda: 'time,channel,value\n' + ''.join(f'{t},ECG,{w}\n{t},RESP,0.1\n' for t, w in zip(seconds(), words(Y))), "'channel'"),
    bad('too slow for an ECG', lambda: 'time,resp\n' + lines(at('{:.1f}'.format, 10), words(SLOW)), 'how fast')]

@table(TIMES)
def test_times(file, write, right, tmp_path): check(tmp_path, file, write, right)


# Heads, remarks and footers

BODY = lines(seconds(), words(Y))
def among(line, every=500): return 't,ECG\n' + ''.join(l + '\n' + (line + '\n' if i % every == 99 else '') for i, l in enumerate(BODY.splitlines()))
PLAIN = dict(unit=FILE)
HEADS = [
    good('40 parameters', lambda: ''.join(f'P{k},{1.5*k}\n' for k in range(40)) + 't,ECG\n' + BODY, **PLAIN),
    good('40 parameters and no names', lambda: ''.join(f'P{k},{1.5*k}\n' for k in range(40)) + BODY, leads=['signal'], **PLAIN),
    good('words among the lines', lambda: among('Event: cough'), notes='without a time', **PLAIN),
    good('remarks among the lines', lambda: among('# marker, 1, 2'), **PLAIN),
    good('400 parameters with a colon', lambda: ''.join(f'Parameter {k}: {3.7*k:.2f}\n' for k in range(400)) + 't,ECG\n' + BODY, **PLAIN),
    good('another table above', lambda: 'Beats\nindex,time,amplitude\n' + ''.join(f'{k},{.8*k:.2f},1.2\n' for k in range(30)) + '\nt,ECG\n' + BODY, **PLAIN),
    bad('a table below', lambda: 't,ECG\n' + BODY + '\nBeats\nindex,time\n' + ''.join(f'{k},{.8*k:.2f}\n' for k in range(30)), f'sample {N:,}'),
    good('a head on each page', lambda: among('\nPage 2\n\nt,ECG'), notes='without a time', **PLAIN),
    good('a line behind the last', lambda: 't,ECG\n' + BODY + 'End of file\n', notes='without a time', **PLAIN),
    good('totals behind the last', lambda: 't,ECG\n' + BODY + f'Mean,0.123\nTotal samples,{N}\n', notes='2 lines', **PLAIN),
    good('a remark behind the last', lambda: 'ECG\n' + lines(words(Y)) + f'# n={N}\n', said=250, **PLAIN),
    good('labels that begin on the first line', lambda: 't,ECG,annotation\n' + lines(seconds(), words(Y), ['N' if i % 200 == 0 else '' for i in range(N)]), **PLAIN),
    good('a note on the first line', lambda: 't,ECG,note\n' + lines(seconds(), words(Y), ['"start, 250 Hz"'] + ['']*(N - 1)), **PLAIN),
    good('notes of several words', lambda: 't,ECG,note\n' + lines(seconds(), words(Y), ['two words' if i % 100 else 'a b c d' for i in range(N)]), **PLAIN),
    *[good(f'{word} in each line', lambda word=word: 'device,t,ECG\n' + lines([word]*N, seconds(), words(Y)), **PLAIN) for word in ('Polar H10 ABC', '00:11:22:33:44:55', '3f2a-11-22', '2024-05-01')],
    good('columns under their names', lambda: '      t     ECG\n' + lines([f'{float(t):7.3f}' for t in seconds()], [f'{v:9.4f}' for v in Y], sep=' '), file='a.txt', **PLAIN),
    good('signs before all numbers, none before the point', lambda: 't,ECG\n' + lines(seconds(), [f'{v:+.4f}'.replace('0.', '.') for v in Y]), **PLAIN),
    good('words with # in a column', lambda: 't,event,ECG\n' + lines(seconds(), [f'#{i % 3}' for i in range(N)], words(Y)), **PLAIN),
    good('numbers as names, and times', lambda: pd.DataFrame(np.c_[np.arange(N)/250, Y, -Y]).round(4).to_csv(index=False), leads=['lead 1', 'lead 2'], wanted=[Y, -Y], **PLAIN),
    good('numbers as names', lambda: pd.DataFrame(np.c_[Y, -Y]).round(4).to_csv(index=False), leads=['lead 1', 'lead 2'], wanted=[Y, -Y], said=250, **PLAIN),
    good('numbers as names over numbers of lines', lambda: pd.DataFrame(np.c_[Y, -Y]).round(4).to_csv(), leads=['lead 1', 'lead 2'], wanted=[Y, -Y], said=250, **PLAIN),
    bad('one row', lambda: ','.join(words(np.tile(Y, 8))) + '\n', 'turn it round', said=250),
    bad('two rows', lambda: 'time,' + ','.join(seconds()) + '\nII,' + ','.join(words(Y)) + '\n', 'turn it round'),
    bad('two variables', lambda: '# name: fs\n# type: scalar\n250\n\n# name: ecg\n# type: matrix\n' + lines(words(Y)), 'several variables', said=250),
    bad('fewer columns than names', lambda: 't,I,II\n' + BODY, 'names 3')]

@table(HEADS)
def test_heads_and_footers(file, write, right, tmp_path): check(tmp_path, file, write, right)


# What stands for no number

def worded(word, at=(1000,)): return 't,ECG\n' + lines(seconds(), [word if i in at else w for i, w in enumerate(words(Y))])
def each(form): return 't,ECG\n' + lines(seconds(), map(form, Y))
HOLE = np.where(np.arange(N) == 1000, np.nan, Y)
NOTHING = [
    *[good(word, lambda word=word: worded(word), wanted=[HOLE], **PLAIN) for word in ('1.#INF', '-1.#IND', '1.#QNAN', '-nan(ind)', '#NUM!', 'n.a.', '--', '?', '.', 'missing')],
    bad('another word', lambda: worded('lead off'), 'line 1002', "'lead off'"),
    bad('the minus of typesetting', lambda: each(lambda v: f'{v:.4f}'.replace('-', '−')), 'not a number'),
    bad('the exponent of Fortran', lambda: each(lambda v: f'{v:.4E}'.replace('E', 'D')), 'not a number'),
    bad('a unit behind each number', lambda: each(lambda v: f'{v:.4f} mV'), "mV' is not a number"),
    bad('hexadecimal', lambda: each(lambda v: f'0x{round(200*v + 1024):04X}'), "'0x"),
    bad('brackets for minus', lambda: each(lambda v: f'({-v:.4f})' if v < 0 else f'{v:.4f}'), 'not a number')]

@table(NOTHING)
def test_missing_words(file, write, right, tmp_path): check(tmp_path, file, write, right)


# Names, units and rates

def headed(head, scale=1., digits=4): return f'{head}\n' + lines(words(scale*Y, digits))
def named(name, scale=1.): return f't,{name}\n' + lines(seconds(), words(scale*Y))
RATES = {'Sample rate: 1,000 Hz': 1000, 'Sample Rate,"1,000 Hz"': 1000, 'Abtastrate: 1.000 Hz': 1000, 'Sampling rate: 1 000 Hz': 1000, 'Abtastrate: 250,00 Hz': 250,
    'Filter low,0.5 Hz\nFilter high,40 Hz\nSample Rate,1000 Hz': 1000, 'Filter,50 Hz\nMessrate,1000 Hz': 1000, 'Meetfrequentie,512 hertz': 512, 'Sampling rate: 0.25 kHz': 250, 'Sampling interval: 0,004 s': 250,
    'Sample rate channel 1: 250 Hz': 250, 'Sample Rate Ch1 = 250 Hz': 250, 'Sampling rate ECG2: 250 Hz': 250, 'Sampling rate (12 bit): 250 Hz': 250, 'Sampling frequency: 2.5E+02 Hz': 250, 'Recording interval: 30 s\nSampling rate: 250 Hz': 250,
    'Heart rate,72 bpm\nSampling Rate,250,Hz': 250, 'Samples,7500\nRate,250 Hz': 250, 'Sampling rate: 62,5 Hz': 62.5}
UNITS = [
    *[good(name, lambda name=name: named(name, 1000), step=1e-7) for name in ('ECG [µV]', 'ECG (μV)', 'ECG [uV]', 'ECG_uV', 'ECG uV', 'ECG/uV', 'ECG (microvolts)', 'ECG [microvolt]')],
    good('a factor before the unit', lambda: named('ECG [10uV]', 100), leads=['ECG [10uV]'], wanted=[100*Y], **PLAIN),
    good('a date beside it', lambda: 'Date,ECG [µV]\n' + lines(thousandths(dates('%Y-%m-%d %H:%M:%S.%f')), words(1000*Y)), step=1e-7),
    good('units in one sign', lambda: named('ECG (㎶)', 1000), step=1e-7),
    good('units in square brackets', lambda: 'ECG;ACC X\n[µV];[mg]\n' + lines(words(1000*Y), words(SLOW), sep=';'), said=250, leads=['ECG', 'ACC X'], unit=['mV', FILE], wanted=[Y, SLOW]),
    good('names and units in two rows', lambda: 't,ECG\n[s],[µV]\n' + lines(seconds(), words(1000*Y)), step=1e-7),
    *[good(head.replace('\n', ' / '), lambda head=head: headed(head + '\nECG'), rate=rate, **PLAIN) for head, rate in RATES.items()],
    *[bad(f'{head} says no rate', lambda head=head: headed(f'Name,X\n{head}\nECG'), 'how fast') for head in ('Filter,50 Hz', 'Notch: 60 Hz', 'Low pass,40 Hz', 'Recording interval: 30 s')]]

@table(UNITS)
def test_names_units_and_rates(file, write, right, tmp_path): check(tmp_path, file, write, right)


# WFDB

STORED = np.rint(200*Y).astype('<i2')
def record(folder, name='e', head='e 1 360 {n}', ending='.hea', signal='{name}.dat 16 200(0)/mV 16 0 0 0 0 MLII'):
    (folder/f'{name}.dat').write_bytes(STORED.tobytes())
    (folder/(name + ending)).write_text(head.format(n=N) + '\n' + signal.format(name=name) + '\n')
    return folder/name
WFDB = dict(leads=['MLII'], unit='mV', wanted=None, step=.005)

@pytest.mark.parametrize('head, said, rate, notes', [('e 1', 360, 360, ''), ('e 1', None, 250, 'states no sampling rate'), ('e 1 3.6e2 {n}', None, 360, '')], ids=['said', 'of the format', 'in powers of ten'])
def test_rate_of_a_header(head, said, rate, notes, tmp_path):
    same_signal(open_record(record(tmp_path, head=head), said), rate=rate, notes=notes, **WFDB)

def test_rate_with_a_comma(tmp_path):
    with pytest.raises(RecordError, match='250,5'): open_record(record(tmp_path, head='e 1 250,5 {n}'))

def test_a_blank_before_the_unit(tmp_path):
    with pytest.raises(RecordError, match='e.hea'): open_record(record(tmp_path, signal='{name}.dat 16 .2(0)/ uV 16 0 0 0 0 MLII'))

def test_rate_zero_of_a_header(tmp_path):
    with pytest.raises(RecordError, match="sampling rate of '?0"): open_record(record(tmp_path, head='e 1 0 {n}'))

@pytest.mark.parametrize('path', ['e', 'e.HEA', 'e.dat'])
def test_header_in_capitals(path, tmp_path):
    record(tmp_path, ending='.HEA')
    same_signal(open_record(tmp_path/path), rate=360, notes='', **WFDB)

@pytest.mark.parametrize('path', ['A0001', 'A0001.mat', 'A0001.hea'])
def test_matlab_file_of_a_record(path, tmp_path):
    from scipy.io import savemat
    names = 'I II III aVR aVL aVF V1 V2 V3 V4 V5 V6'.split()
    wanted = np.rint(1000*Y*np.arange(1, 13)[:, None]/12).astype('<i2')
    savemat(tmp_path/'A0001.mat', dict(val=wanted), format='4')
    (tmp_path/'A0001.hea').write_text(f'A0001 12 500 {N}\n' + ''.join(f'A0001.mat 16+24 1000/mV 16 0 0 0 0 {n}\n' for n in names))
    same_signal(open_record(tmp_path/path), rate=500, leads=names, unit='mV', wanted=wanted/1000, step=1e-6, notes='')

def test_a_text_called_dat(tmp_path):
    (tmp_path/'d.dat').write_text(BODY)
    with pytest.raises(RecordError, match='d.txt'): open_record(tmp_path/'d.dat', 250)

# What stands beside a record

BEATS = np.arange(100, N, 300)
def test_beats_behind_the_end(tmp_path):
    source = open_record(record(tmp_path))
    wfdb.wrann('e', 'out', np.r_[BEATS, N, N + 900], ['N']*(len(BEATS) + 2), write_dir=str(tmp_path))
    assert (source.beats('out') == BEATS).all() and any('2 beats' in n and 'end' in n for n in source.notes)

def test_annotations_without_a_beat(tmp_path):
    source = open_record(record(tmp_path))
    wfdb.wrann('e', 'rhy', np.array([10, 500]), ['+', '+'], aux_note=['(N', '(AFIB'], write_dir=str(tmp_path))
    with pytest.raises(RecordError, match='e.rhy holds no beat'): source.beats('rhy')

@pytest.mark.parametrize('annotator', ['hea', 'txt', 'emp', 'cut'])
def test_files_that_are_no_annotations(annotator, tmp_path):
    "The header, a text, nothing, and half of a file of annotations"
    source = open_record(record(tmp_path))
    wfdb.wrann('e', 'atr', BEATS, ['N']*len(BEATS), write_dir=str(tmp_path))
    whole = (tmp_path/'e.atr').read_bytes()
    assert (source.beats('atr') == BEATS).all()
    for ending, content in dict(txt=b'100 N\n300 N\n', emp=b'', cut=whole[:len(whole)//4*2]).items(): (tmp_path/f'e.{ending}').write_bytes(content)
    with pytest.raises(RecordError, match=f'e.{annotator}'): source.beats(annotator)

def test_annotations_of_the_aha(tmp_path):
    (tmp_path/'e.aha').write_bytes(b''.join(b'\0N' + int(s).to_bytes(4, 'little') + i.to_bytes(2, 'little') + bytes(8) for i, s in enumerate(BEATS)))
    with pytest.raises(RecordError, match='AHA'): open_record(record(tmp_path)).beats('aha')


# EDF

DIGITAL = np.rint((Y + 5)/10*4095 - 2048).astype('<i2')
def edf(label='ECG', low='-5.00', high='5.00', least='-2048', duration='1', kind=''):
    def f(text, width): return text.encode().ljust(width)
    head = f('0', 8) + f('X X X X', 80) + f('Startdate X X X X', 80) + f('01.02.24', 8) + f('10.00.00', 8) + f('512', 8) + f(kind, 44) + f(str(N//250), 8) + f(duration, 8) + f('1', 4)
    return head + f(label, 16) + f('', 80) + f('mV', 8) + f(low, 8) + f(high, 8) + f(least, 8) + f('2047', 8) + f('', 80) + f('250', 8) + f('', 32) + DIGITAL.tobytes()
EDF = dict(file='a.edf', step=10/4095)
EDFS = [
    good('commas in its range', lambda: edf(low='-5,00', high='5,00'), **EDF),
    good('a comma in its duration', lambda: edf(duration='0,5'), rate=500, **EDF),
    *[good(label, lambda label=label: edf(label), leads=[label], **EDF) for label in ('EKG Ü', '心')],
    good('interruptions that it does not place', lambda: edf(kind='EDF+D'), notes='interruptions', **EDF),
    bad('no physical range', lambda: edf(low='5.00'), 'ECG', 'range', file='a.edf'),
    bad('no digital range', lambda: edf(least='2047'), 'ECG', 'range', file='a.edf')]

@table(EDFS)
def test_edf(file, write, right, tmp_path): check(tmp_path, file, write, right)


# Arrays and frames

def stamped(freq='4ms', n=N): return pd.date_range('2024', periods=n, freq=freq)
OBJECTS = {
    'a series with dates': (lambda: pd.Series(Y, stamped()), None, ['signal']),
    'a series with a name and spans': (lambda: pd.Series(Y, stamped() - stamped()[0], name='ECG'), None, ['ECG']),
    'an array of objects': (lambda: np.array(Y.tolist(), object), 250, ['signal']),
    'dates that a change of the clock falls into': (lambda: pd.DataFrame({'ECG': Y}, index=pd.date_range('2024-03-31 01:59:50', periods=N, freq='4ms', tz='Europe/Berlin')), None, ['ECG']),
    'times of day': (lambda: pd.DataFrame({'t': [(START + dt.timedelta(seconds=i/250)).time() for i in range(N)], 'ECG': Y}), None, ['ECG']),
    'words beside it': (lambda: pd.DataFrame({'kind': pd.Categorical(['a', 'b']*(N//2)), 'ECG': Y}), 250, ['ECG']),
    'the bytes of another machine': (lambda: Y.astype('>f8'), 250, ['signal']),
    'a rate in an array': (lambda: Y, np.array(250), ['signal'])}

@pytest.mark.parametrize('name', OBJECTS)
def test_objects(name):
    make, said, leads = OBJECTS[name]
    same_signal(open_record(make(), said), rate=250, leads=leads, unit=FILE, wanted=None, step=1e-6, notes='')

@pytest.mark.parametrize('kind', ['requires_grad', 'bfloat16'])
def test_tensors(kind):
    import torch
    x = torch.tensor(Y, requires_grad=True) if kind == 'requires_grad' else torch.tensor(Y).bfloat16()
    same_signal(open_record(x, 250), rate=250, leads=['signal'], unit=FILE, wanted=None, step=.016, notes='')

def test_none_in_an_array_is_missing():
    x = np.array([None if i == 1000 else v for i, v in enumerate(Y.tolist())], object)
    same_signal(open_record(x, 250), rate=250, leads=['signal'], unit=FILE, wanted=[HOLE], step=1e-6, notes='')

def test_a_series_in_no_order_is_refused():
    with pytest.raises(RecordError, match='no order'): open_record(pd.Series(Y, stamped()).sample(frac=1, random_state=0), 250)

def test_times_beside_an_array_are_no_lead():
    same_signal(open_record(np.c_[np.arange(N)/250, Y], 250), rate=250, leads=['signal'], unit=[FILE], wanted=None, step=1e-6, notes='')

def test_leads_of_two_lengths():
    with pytest.raises(RecordError, match='same length'): open_record([Y.tolist(), Y[:9].tolist()], 250)

def test_a_series_keeps_its_gap():
    later = stamped() + pd.to_timedelta(np.where(np.arange(N) > 3000, 3, 0), unit='s')
    wanted = np.r_[Y[:3001], np.full(750, np.nan), Y[3001:]]
    same_signal(open_record(pd.Series(Y, later), 250), rate=250, leads=['signal'], unit=FILE, wanted=[wanted], step=1e-6, notes='3 s')

@pytest.mark.parametrize('columns, leads', [(['ECG', 'ECG'], ['ECG', 'ECG (2)']), (pd.MultiIndex.from_tuples([('I', 'uV'), ('II', 'uV')]), ['I', 'II'])], ids=['a name twice', 'names in two rows'])
def test_frames(columns, leads):
    unit = FILE if leads[0] == 'ECG' else 'mV'
    scale = 1 if unit == FILE else 1000
    same_signal(open_record(pd.DataFrame(scale*np.c_[Y, -Y], columns=columns), 250), rate=250, leads=leads, unit=unit, wanted=[Y, -Y], step=1e-6, notes='')

@pytest.mark.parametrize('rate', [dict(fs=250), {}], ids=['the rate in it', 'the rate said'])
def test_matlab_file_with_times(rate, tmp_path):
    from scipy.io import savemat
    savemat(tmp_path/'a.mat', dict(t=np.arange(N)/250, ecg=Y, **rate))
    same_signal(open_record(tmp_path/'a.mat', None if rate else 250), rate=250, leads=['signal'], unit=FILE, wanted=None, step=1e-6, notes='')

def read_pieces(source): return [source.read(*r).shape for r in [(0, 0), (-5, 5), (source.length - 2, source.length + 5), (source.length, source.length + 1), (5, 2)]]
@pytest.mark.parametrize('form', ['record', 'edf', 'text', 'array'])
def test_reading_past_the_edges(form, tmp_path):
    (tmp_path/'a.edf').write_bytes(edf())
    (tmp_path/'a.csv').write_text('t,ECG\n' + BODY)
    what = dict(record=record(tmp_path), edf=tmp_path/'a.edf', text=tmp_path/'a.csv', array=Y)[form]
    assert read_pieces(open_record(what, 250 if form == 'array' else None)) == [(0, 1), (5, 1), (2, 1), (0, 1), (0, 1)]


# Faults in a file that was whole: told, or mended with a word

TIMED = {c.id: c for c in [*TIMES, *SPREADSHEETS, *LABORATORIES, *BOARDS]}
WHOLE = ['Shimmer, separated by tabs', 'LabChart', 'AcqKnowledge in sec', 'AcqKnowledge in min', 'a German date past midnight', 'date and time in two columns, decimal commas', 'minutes']
def delete(rows, i): del rows[i:i + 300]
def lengthen(rows, i): rows[i] = rows[i].rstrip() + ',7,8,9;7;8;9\t7\t8\t9\n'
def put_word(rows, i): rows[i] = rows[i].rstrip()[:-3] + 'abc\n'
def join(rows, i): rows[i:i + 2] = [rows[i].rstrip() + rows[i + 1]]
def move(rows, i): rows[i:i + 400] = rows[i + 200:i + 400] + rows[i:i + 200]
def repeat(rows, i): rows[i:i] = rows[i - 300:i]

@pytest.mark.parametrize('name', WHOLE)
@pytest.mark.parametrize('fault', [lengthen, put_word, join, move, repeat], ids=lambda f: f.__name__)
def test_faults_are_refused(fault, name, tmp_path):
    file, write, right = TIMED[name].values
    rows = write().splitlines(keepends=True)
    fault(rows, len(rows) - 4000)
    (tmp_path/file).write_text(''.join(rows))
    with pytest.raises(RecordError) as refused: open_record(tmp_path/file)
    assert '\n' not in str(refused.value) and file in str(refused.value)

@pytest.mark.parametrize('name', WHOLE)
def test_lines_that_are_gone_leave_a_gap(name, tmp_path):
    file, write, right = TIMED[name].values
    rows = write().splitlines(keepends=True)
    delete(rows, len(rows) - 4000)
    (tmp_path/file).write_text(''.join(rows))
    wanted = np.stack([Y] if right['wanted'] is None else right['wanted'], 1)
    wanted[N - 4000:N - 3700] = np.nan
    same_signal(open_record(tmp_path/file), **{k: v for k, v in right.items() if k != 'said'} | dict(wanted=list(wanted.T), notes='jump'))


# The lead that is scored where none is named

LEADS = {'a pulse wave': (['PPG', 'CH2'], 'CH2'), 'two lights': (['red', 'ir', 'biopotential'], 'biopotential'), 'its quality': (['ECG_quality', 'ECG_Clean'], 'ECG_Clean'), 'its rate': (['ECG_Rate', 'ECG_Raw'], 'ECG_Raw'),
    'its peaks': (['ECG_R_Peaks', 'ECG_Clean'], 'ECG_Clean'), 'respiration by ECG electrodes': (['ECG_RESP_24BIT', 'ECG_LL-RA_24BIT'], 'ECG_LL-RA_24BIT'), 'a lead by its name': (['Resp', 'Accel X', 'V5'], 'V5'), 'nothing else': (['PPG', 'Resp'], 'PPG')}

@pytest.mark.parametrize('kind', LEADS)
@pytest.mark.parametrize('prefer', [(), ('MLII', 'II')], ids=['any', 'by the detector'])
def test_choice_of_lead(kind, prefer):
    leads, right = LEADS[kind]
    assert leads[choose_lead(leads, prefer=prefer)[0]] == right
