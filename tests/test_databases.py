"""Other databases: where they are looked for, and what their annotations say."""
import hashlib, shutil
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ganad.data import databases, ecg
from ganad.data.databases import (DATABASES, DEVELOPMENT, at_hand, bigeminal_stretches, database_folder, database_record, database_records,
                                  folder_records, noise_stretches, note_noise, person, rhythms, stress_ratio, stress_stretches)
from ganad.data.ecg import RecordError, download, read_record
from ganad.settings import DataNotFound, data_folder, data_named


def write(folder, name, marks=(), seconds=30, fs=100, ending='atr', lead='II'):
    "A record, and annotations (second, symbol, text or subtype)"
    folder.mkdir(parents=True, exist_ok=True)
    signal = np.random.default_rng(0).normal(size=(seconds*fs, 1))
    wfdb.wrsamp(name, fs=fs, units=['mV'], sig_name=[lead], p_signal=signal, fmt=['16'], adc_gain=[1000], baseline=[0], write_dir=str(folder))
    if marks:
        at, symbol, said = zip(*marks)
        wfdb.wrann(name, ending, np.round(np.array(at)*fs).astype(int), symbol=list(symbol), write_dir=str(folder),
                   aux_note=[s if isinstance(s, str) else '' for s in said], subtype=np.array([0 if isinstance(s, str) else s for s in said]))
    return folder/name

BEATS = [(1, 'N', ''), (2, 'V', ''), (3, 'N', '')]

def spans(frame): return list(frame.itertuples(index=False, name=None))


# ---- rhythms and noise

def test_a_rhythm_holds_until_the_next(tmp_path):
    path = write(tmp_path, 'one', [(2, '+', '(N'), (3, 'N', ''), (10, '+', '(VT'), (12.5, '+', '(N'), (13, 'N', '(VT')])
    assert spans(rhythms(path)) == [(2, 10, '(N'), (10, 12.5, '(VT'), (12.5, 30, '(N')]
    assert spans(rhythms(read_record(path))) == spans(rhythms(path))

def test_flutter_between_brackets_is_a_rhythm_with_or_without_a_note(tmp_path):
    path = write(tmp_path, 'one', [(1, '+', '(N'), (5, '[', ''), (7, ']', ''), (10, '[', ''), (10.5, '+', '(VFL'), (15, ']', ''), (16, '+', '(N')])
    assert spans(rhythms(path)) == [(1, 5, '(N'), (5, 7, '(VFL'), (7, 10, '(N'), (10, 15, '(VFL'), (16, 30, '(N')]
    assert spans(rhythms(write(tmp_path, 'two', [(5, '[', ''), (7, ']', '')]))) == [(5, 7, '(VFL')]

def test_the_same_rhythm_noted_twice_is_one_stretch(tmp_path):
    assert spans(rhythms(write(tmp_path, 'one', [(1, '+', '(AFIB'), (5, '+', '(AFIB'), (9, '+', '(N')]))) == [(1, 9, '(AFIB'), (9, 30, '(N')]

def test_a_record_of_beats_alone_has_no_rhythm(tmp_path):
    found = rhythms(write(tmp_path, 'one', BEATS))
    assert not len(found) and list(found.columns) == ['start', 'stop', 'rhythm']

def test_a_piece_knows_only_the_rhythms_that_begin_in_it(tmp_path):
    path = write(tmp_path, 'one', [(1, '+', '(N'), (10, '+', '(VT')])
    assert spans(rhythms(read_record(path, 500, 1500))) == [(5, 10, '(VT')]

def test_a_record_without_texts_is_refused():
    record = ecg.Record(np.zeros((100, 1)), 100., ['II'], 'bare', np.array([1]), np.array(['N']))
    with pytest.raises(RecordError, match='no annotations with texts'): rhythms(record)

def test_noise_by_lead_and_as_a_rhythm(tmp_path):
    path = write(tmp_path, 'one', [(1, '+', '(NOISE'), (2, '+', '(N'), (5, '~', 2), (10, '~', 3), (15, '~', 0), (20, '~', 16), (21, '~', 32), (22, '~', 0), (25, '~', -1)])
    assert spans(noise_stretches(path)) == [(1, 2), (5, 15), (20, 22), (25, 30)]
    assert spans(noise_stretches(path, lead=0)) == [(1, 2), (10, 15), (20, 21), (25, 30)]
    assert spans(noise_stretches(path, lead=1)) == [(1, 2), (5, 15), (21, 22), (25, 30)]
    assert spans(noise_stretches(write(tmp_path, 'two', BEATS))) == []

@pytest.mark.parametrize('beats, stretches', [
    ('NVNVNV', [(0, 5)]), ('VNVNVN', [(0, 5)]), ('NSNVNA', [(0, 5)]), ('NVNVN', []), ('', []), ('N', []), ('NNNNNN', []), ('VVVVVV', []),
    ('NNVNVNVNN', [(1, 7)]), ('NVNFNVNV', []), ('NVNVNVVNVNVN', [(0, 5), (6, 11)]), ('NV+NV~NV', [(0, 7)]), ('NVN/NVNVNV', [(4, 9)])])
def test_bigeminy_is_six_beats_that_alternate(beats, stretches):
    assert bigeminal_stretches(range(len(beats)), list(beats)).tolist() == [list(s) for s in stretches]

def test_noisy_pieces_of_the_stress_test():
    assert stress_stretches(800).tolist() == [[300, 420], [540, 660], [780, 800]] and not len(stress_stretches(299))
    assert [stress_ratio(name) for name in ('118e24', '118e06', '119e00', '118e_6')] == [24, 6, 0, -6]


def test_noise_that_is_known_of_is_noted(tmp_path):
    record = read_record(write(tmp_path, 'one', [(1, '~', 3), (2, '~', 0), (3, 'N', ''), (10, 'V', '')]))
    noted = note_noise(record, [[5, 8], [20, 40]])
    assert spans(noise_stretches(noted)) == [(5, 8), (20, 30)] and spans(noise_stretches(record)) == [(1, 2)]
    assert noted.symbol.tolist() == ['N', '~', '~', 'V', '~'] and (np.diff(noted.sample) > 0).all() and len(noted.aux) == 5


# ---- whose they are

def test_persons():
    assert person('cpsc2021', 'data_35_4') == person('cpsc2021', 'data_35_10') != person('cpsc2021', 'data_3_5')
    assert person('nstdb', '118e_6') == person('mitdb', '118') != person('svdb', '118')
    assert person('mitdb', '201') == person('mitdb', '202')
    with pytest.raises(ValueError, match="Did you mean 'vfdb'"): person('vfdp', '418')

def test_what_is_said_of_each_database():
    assert set(DEVELOPMENT) < set(DATABASES) and all(d['cite'] and d['licence'] for d in DATABASES.values())
    assert all(len(set(r)) == len(r) <= DATABASES[name]['records'] for name, r in DEVELOPMENT.items())


# ---- where they are

@pytest.fixture
def own_data(tmp_path, monkeypatch):
    "A data folder with two records of svdb in it"
    for name in ('865', '803'): write(tmp_path/'svdb', name, BEATS)
    write(tmp_path/'svdb', 'noise')
    monkeypatch.setenv('GANAD_DATA', str(tmp_path))
    return tmp_path

def test_a_part_of_a_database_is_used(own_data):
    assert database_records('svdb') == ['803', '865']
    assert database_record('svdb', '865').symbol.tolist() == ['N', 'V', 'N']
    assert database_folder('svdb', ['865']) == own_data/'svdb'

def test_what_the_named_folder_lacks_is_an_error(own_data):
    with pytest.raises(DataNotFound, match="no folder 'vfdb'"): database_folder('vfdb')
    with pytest.raises(DataNotFound, match='lacks the records 800'): database_folder('svdb', ['800', '865'])
    with pytest.raises(ValueError, match='803'): database_record('svdb', '804')
    with pytest.raises(ValueError, match='unknown database'): database_records('edb')
    with pytest.raises(DataNotFound): at_hand('vfdb')

@pytest.fixture
def far_away(tmp_path, own_cache, monkeypatch):
    "No data folder named; PhysioNet holds a database whose records lie in two folders. A list of what it was asked for"
    source, asked = tmp_path/'far'/'cpsc2021', []
    for i, name in enumerate(('data_1_1', 'data_1_2', 'data_2_1')): write(source/f'Training_set_{1 + i//2}', name, BEATS)
    write(source, 'bare')
    files = sorted(f for f in source.rglob('*') if f.is_file())
    (source/'SHA256SUMS.txt').write_text(''.join(f'{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(source).as_posix()}\n' for f in files))
    (source/'RECORDS').write_text('Training_set_1/\nTraining_set_2/data_2_1\nbare\n')
    def dl_files(database, folder, names):
        for name in names:
            asked.append(name)
            (Path(folder)/name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source/name, Path(folder)/name)
    monkeypatch.setenv('GANAD_DATA', '')
    for module in (ecg, databases): monkeypatch.setattr(module, 'online', lambda: True)
    monkeypatch.setattr(wfdb, 'dl_files', dl_files)
    return asked

def test_all_records_are_downloaded_where_none_is_there(far_away, own_cache):
    assert database_records('cpsc2021') == ['data_1_1', 'data_1_2', 'data_2_1'] and (own_cache/'data/cpsc2021/bare.dat').is_file()
    n = len(far_away)
    assert len(database_record('cpsc2021', 'data_2_1').sample) == 3 and len(far_away) == n

def test_a_few_records_are_downloaded_and_others_added(far_away, own_cache):
    database_folder('cpsc2021', ['data_1_2'])
    assert database_records('cpsc2021') == ['data_1_2'] and not any('data_1_1' in name for name in far_away)
    before = len(far_away)
    assert at_hand('cpsc2021', ['data_1_2', 'data_2_1']) and database_records('cpsc2021') == ['data_1_2', 'data_2_1']
    assert not any('data_1' in name for name in far_away[before:])
    assert [p.name for p in (own_cache/'data').iterdir()] == ['cpsc2021']
    with pytest.raises(DataNotFound, match='no record data_9_9'): database_folder('cpsc2021', ['data_9_9'])

def test_a_record_that_came_wrong_is_not_added(far_away, own_cache, monkeypatch):
    database_folder('cpsc2021', ['data_1_2'])
    get = wfdb.dl_files
    def damaged(database, folder, names):
        get(database, folder, names)
        for name in names:
            if name.endswith('.dat'): (Path(folder)/name).write_bytes(b'something else')
    monkeypatch.setattr(wfdb, 'dl_files', damaged)
    with pytest.raises(DataNotFound, match='another checksum'): database_folder('cpsc2021', ['data_2_1'])
    assert database_records('cpsc2021') == ['data_1_2']

def test_alone(own_cache, monkeypatch):
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(databases, 'online', lambda: False)
    assert not at_hand('svdb')
    with pytest.raises(DataNotFound, match='PhysioNet does not answer'): database_folder('svdb')


# ---- a user's folder

def test_records_of_a_folder_that_have_something_to_say(tmp_path):
    write(tmp_path, 'beats', BEATS)
    write(tmp_path/'below', 'rhythm', [(1, '+', '(VT')])
    write(tmp_path, 'noise', [(1, '~', 1), (2, '"', 'a note')])
    write(tmp_path, 'none')
    write(tmp_path, 'other', BEATS, ending='qrs')
    assert [p.relative_to(tmp_path).as_posix() for p in folder_records(tmp_path)] == ['beats', 'below/rhythm']
    assert [p.name for p in folder_records(tmp_path, 'qrs')] == ['other']
    with pytest.raises(DataNotFound, match='another ending'): folder_records(tmp_path, 'ecg')
    with pytest.raises(DataNotFound, match='no folder'): folder_records(tmp_path/'nowhere')


# ---- the real ones

@pytest.mark.parametrize('database', sorted(DEVELOPMENT))
def test_the_records_to_choose_on_are_there_and_read(database):
    if not data_named(): pytest.skip(f'{database}: no data folder is named')
    assert set(DEVELOPMENT[database]) <= set(database_records(database))
    record = database_record(database, DEVELOPMENT[database][0])
    assert record.fs == DATABASES[database]['fs'] and len(record.aux) == len(record.subtype) == len(record.sample)

def test_vfdb_has_rhythms_and_no_beats():
    if not data_named(): pytest.skip('vfdb: no data folder is named')
    found = rhythms(data_folder('vfdb')/'418')
    assert len(found) == 121 and set(found.rhythm) == {'(N', '(VFL'} and found.stop.iloc[-1] == 2100
    assert (found.start[1:].to_numpy() == found.stop[:-1].to_numpy()).all()
