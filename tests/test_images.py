"Images are read or refused, Fashion-MNIST is the published one, the protocols hold, the stand-ins behave."
import gzip, hashlib, io, urllib.error, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganad.data import images
from ganad.data.images import (FASHION_CLASSES, FASHION_MD5, ImageError, ImageFiles, Images, class_number, data_note, find_images, image_endings,
                               load_fashion_mnist, load_image_folder, load_images, middle, protocol_contaminated, protocol_one_class, read_idx,
                               read_image, simulate_images, unit_length)
from ganad.data.tables import blocks
from ganad.detector import make_detector
from ganad.evaluation import auroc, report
from ganad.settings import DataNotFound, data_folder, data_named

def pixels(h=20, w=20, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w) if channels == 1 else (h, w, channels), dtype=np.uint8)

def write(file, h=20, w=20, channels=1, seed=0, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    p = pixels(h, w, channels, seed)
    Image.fromarray(p).save(file, **options)
    return p

def scaled(p): return np.asarray(p, np.float32)/np.float32(127.5) - 1

@pytest.fixture
def layout(tmp_path):
    "Six, four and two grey pictures in the three folders"
    for part, n in (('train/0.normal', 6), ('test/0.normal', 4), ('test/1.abnormal', 2)):
        for i in range(n): write(tmp_path/'set'/part/f'{i}.png', seed=i)
    return tmp_path/'set'


# ---- IDX

def idx(array): return bytes([0, 0, 8, array.ndim]) + b''.join(n.to_bytes(4, 'big') for n in array.shape) + array.astype(np.uint8).tobytes()

@pytest.mark.parametrize('shape', [(7,), (3, 4), (2, 3, 4), (300, 2, 2), (0, 5)])
def test_idx(shape):
    array = np.arange(np.prod(shape)).reshape(shape) % 256
    np.testing.assert_array_equal(read_idx(idx(array)), array)

def test_damaged_idx():
    data = idx(np.zeros((3, 4)))
    for cut in (data[:-1], data + b'\0', data[:9]):
        with pytest.raises(ValueError, match='cut short or damaged'): read_idx(cut)
    for other in (b'', b'\0\0', gzip.compress(data)):
        with pytest.raises(ValueError, match='not an IDX file'): read_idx(other)
    with pytest.raises(ValueError, match='kind 13'): read_idx(b'\0\0\x0d' + data[3:])


# ---- one picture

@pytest.mark.parametrize('ending', ['png', 'bmp', 'tiff', 'gif', 'pgm', 'webp', 'PNG'])
def test_formats(tmp_path, ending):
    p = write(tmp_path/f'a.{ending}', **(dict(lossless=True) if ending == 'webp' else {}))
    x = read_image(tmp_path/f'a.{ending}', size=None)
    assert x.dtype == np.float32 and x.shape == (1, 20, 20)
    np.testing.assert_allclose(x[0], scaled(p), atol=2e-2 if ending == 'webp' else 1e-6)
    np.testing.assert_array_equal(read_image(tmp_path/f'a.{ending}', size=20), x)
    assert find_images(tmp_path) == [tmp_path/f'a.{ending}']

def test_colour_and_grey(tmp_path):
    p = write(tmp_path/'c.png', channels=3)
    np.testing.assert_allclose(read_image(tmp_path/'c.png', 20, 3), scaled(p).transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(read_image(tmp_path/'c.png', 20, 1)[0], scaled(p@[.299, .587, .114]), atol=1/127.5)
    write(tmp_path/'g.png')
    x = read_image(tmp_path/'g.png', 20, 3)
    assert x.shape == (3, 20, 20) and (x == read_image(tmp_path/'g.png', 20)).all()

def test_sixteen_bits_and_floats(tmp_path):
    deep = np.linspace(0, 65535, 400).reshape(20, 20)
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path/'d.png')
    Image.fromarray((deep/65535).astype(np.float32)).save(tmp_path/'f.tiff')
    for name in ('d.png', 'f.tiff'): np.testing.assert_allclose(read_image(tmp_path/name, 20)[0], deep/65535*2 - 1, atol=1e-4)
    assert read_image(tmp_path/'d.png', 8, 3).shape == (3, 8, 8)
    for bad in (-1, 2, np.nan):
        Image.fromarray(np.full((4, 4), bad, np.float32)).save(tmp_path/'f.tiff')
        with pytest.raises(ImageError, match='not from 0 to 1'): load_images([tmp_path/'f.tiff'])

def test_transparent_on_white(tmp_path):
    Image.new('RGBA', (4, 4), (0, 0, 0, 0)).save(tmp_path/'a.png')
    Image.new('LA', (4, 4), (0, 0)).save(tmp_path/'b.png')
    assert (read_image(tmp_path/'a.png', 4, 3) == 1).all() and (read_image(tmp_path/'b.png', 4, 1) == 1).all()

@pytest.mark.parametrize('mode, grey', [('1', True), ('L', True), ('LA', True), ('I;16', True), ('RGB', False), ('RGBA', False), ('P', False)])
def test_modes(tmp_path, mode, grey):
    image = Image.fromarray(pixels().astype(np.uint16)) if mode == 'I;16' else Image.fromarray(pixels(channels=3)).convert(mode)
    image.save(tmp_path/'a.png')
    for channels in (1, 3): assert read_image(tmp_path/'a.png', 8, channels).shape == (channels, 8, 8)
    assert load_images(tmp_path).x.shape[1] == (1 if grey else 3)

def test_cmyk_and_progressive_jpeg(tmp_path):
    Image.new('CMYK', (9, 9), (0, 0, 0, 255)).save(tmp_path/'a.jpg')
    assert read_image(tmp_path/'a.jpg', 4, 3).max() < -.9
    write(tmp_path/'b.jpg', 300, 200, 3, progressive=True)
    assert read_image(tmp_path/'b.jpg', 16, 3).shape == (3, 16, 16)

def test_the_right_way_up(tmp_path):
    p = pixels(10, 30)
    exif = Image.Exif()
    exif[0x0112] = 6 # turned by a quarter
    Image.fromarray(p).save(tmp_path/'a.png', exif=exif)
    np.testing.assert_allclose(read_image(tmp_path/'a.png', None)[0], scaled(np.rot90(p, -1)), atol=1e-6)

def test_first_of_several(tmp_path):
    first, second = Image.new('L', (5, 5), 0), Image.new('L', (5, 5), 255)
    for name in ('a.gif', 'a.tiff'):
        first.save(tmp_path/name, save_all=True, append_images=[second])
        assert (read_image(tmp_path/name, 5) == -1).all()

@pytest.mark.parametrize('h, w, size', [(20, 20, 8), (21, 50, 8), (50, 21, (8, 12)), (3, 2, 16), (1, 500, (4, 4)), (500, 1, 32)])
def test_size(tmp_path, h, w, size):
    write(tmp_path/'a.png', h, w, 3)
    x = read_image(tmp_path/'a.png', size, 3)
    assert x.shape[1:] == (size if isinstance(size, tuple) else (size, size)) and np.abs(x).max() <= 1

def test_the_middle_averaged(tmp_path):
    p = np.zeros((40, 100), np.uint8)
    p[:, 30:70] = 200 # the middle square; what is cut off is black
    Image.fromarray(p).save(tmp_path/'a.png')
    inner = read_image(tmp_path/'a.png', 10)[0]
    np.testing.assert_allclose(inner[:, 1:-1], scaled(200), atol=1e-2)
    assert middle(40, 100, 10, 10) == (30, 0, 70, 40)
    checks = np.indices((64, 64)).sum(0) % 2*255
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path/'b.png')
    assert np.abs(read_image(tmp_path/'b.png', 16)).max() < .05

def test_large_jpegs_are_read_at_less_detail_and_look_the_same(tmp_path):
    smooth = np.add.outer(np.linspace(0, 120, 800), np.linspace(0, 120, 1200)).astype(np.uint8)
    for name in ('a.jpg', 'a.png'): Image.fromarray(smooth).save(tmp_path/name)
    assert np.abs(read_image(tmp_path/'a.jpg', 32) - read_image(tmp_path/'a.png', 32)).max() < .02

@pytest.mark.parametrize('size', [0, -3, (4,), (4, 4, 4), 3.5, 'big'])
def test_wrong_sizes(tmp_path, size):
    write(tmp_path/'a.png')
    with pytest.raises(ValueError, match='size must be'): load_images(tmp_path, size=size)
    with pytest.raises(ValueError, match='channels must be 1'): load_images(tmp_path, channels=2)


# ---- many

def test_lazy_reads_what_is_asked_for(tmp_path):
    for i in range(12): write(tmp_path/f'{i:02d}.png', seed=i)
    there, lazy = load_images(tmp_path, 16), load_images(tmp_path, 16, lazy=True, workers=2)
    assert isinstance(lazy.x, ImageFiles) and lazy.x.shape == there.x.shape == (12, 1, 16, 16) and lazy.x.dtype == there.x.dtype
    np.testing.assert_array_equal(np.asarray(lazy.x), there.x)
    np.testing.assert_array_equal(lazy.load().x, there.x)
    for index in (3, -1, slice(2, 9, 3), [5, 1], np.arange(12) % 2 == 0, np.array([], int)): np.testing.assert_array_equal(lazy.x[index], there.x[index])
    np.testing.assert_array_equal(np.concatenate(list(blocks(lazy.x, 5))), there.x)
    part = lazy[np.arange(12) > 8]
    assert isinstance(part.x, ImageFiles) and part.file.tolist() == ['09.png', '10.png', '11.png']
    np.testing.assert_array_equal(part.load().x, there.x[9:])
    with pytest.raises(IndexError): lazy.x[12]
    (tmp_path/'03.png').unlink()
    np.testing.assert_array_equal(lazy.x[:3], there.x[:3])
    with pytest.raises(ImageError, match='03.png cannot be read: No such file'): lazy.x[3]

@pytest.mark.parametrize('workers', [1, 3])
def test_threads_keep_the_order(tmp_path, workers):
    for i in range(30): write(tmp_path/f'{i:02d}.png', 5 + 40*(i % 3), seed=i)
    np.testing.assert_array_equal(load_images(tmp_path, 8, workers=workers).x, np.stack([read_image(f, 8) for f in sorted(tmp_path.iterdir())]))

def test_a_detector_takes_them(layout):
    train, test = load_image_folder(layout, lazy=True)
    detector = make_detector('pca').fit(train.x)
    np.testing.assert_array_equal(detector.anomaly_score(test.x), make_detector('pca').fit(train.load().x).anomaly_score(test.load().x))

def test_what_is_an_image(tmp_path):
    for name in ('b/2.PNG', 'a.jpg', '.hidden.png', '.cache/x.png'): write(tmp_path/name)
    (tmp_path/'notes.txt').write_text('not one')
    assert [f.relative_to(tmp_path).as_posix() for f in find_images(tmp_path)] == ['a.jpg', 'b/2.PNG']
    assert load_images(tmp_path).file.tolist() == ['a.jpg', 'b/2.PNG'] and load_images(str(tmp_path)).y.tolist() == [-1, -1]
    assert {'.png', '.jpg', '.tif', '.webp'} <= image_endings() and not {'.eps', '.txt', '.npy'} & image_endings()

def test_postscript_is_not_run(tmp_path):
    (tmp_path/'a.png').write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n')
    with pytest.raises(ImageError, match='no picture, or of a format'): load_images([tmp_path/'a.png'])


# ---- the layout and bad input

def test_layout(layout):
    train, test = load_image_folder(layout, size=16)
    assert train.x.shape == (6, 1, 16, 16) and train.y.tolist() == [0]*6 and test.y.tolist() == [0]*4 + [1]*2
    assert test.label.tolist() == ['0.normal']*4 + ['1.abnormal']*2 and test.file[-1] == 'test/1.abnormal/1.png' and '6 images' in repr(train)
    assert 'read when asked' in repr(load_image_folder(layout, lazy=True)[1])

@pytest.mark.parametrize('part', ['train/0.normal', 'test/0.normal', 'test/1.abnormal'])
def test_missing_and_empty_folders(layout, part):
    for f in (layout/part).iterdir(): f.unlink()
    with pytest.raises(ImageError, match=f"'{Path(part).name}' holds no image: it is empty"): load_image_folder(layout)
    (layout/part/'readme.txt').write_text('nothing')
    with pytest.raises(ImageError, match="1 other files, as 'readme.txt'"): load_image_folder(layout)
    (layout/part/'broken.png').write_bytes(b'x')
    with pytest.raises(ImageError, match=f'none of the 1 images in {part} can be read'), pytest.warns(UserWarning): load_image_folder(layout, skip_unreadable=True)
    for f in (layout/part).iterdir(): f.unlink()
    (layout/part).rmdir()
    with pytest.raises(ImageError, match=f'lacks {part}; it has'): load_image_folder(layout)

def test_no_folder_at_all(tmp_path):
    with pytest.raises(ImageError, match='lacks train/0.normal, test/0.normal, test/1.abnormal'): load_image_folder(tmp_path/'nowhere')
    with pytest.raises(ImageError, match="no folder 'nowhere'"): load_images(tmp_path/'nowhere')
    with pytest.raises(ImageError, match='no image files were given'): load_images([])

def damaged(folder):
    "Files that cannot be read, and why"
    good = io.BytesIO()
    Image.fromarray(pixels(60, 60)).save(good, 'png')
    (folder/'cut.png').write_bytes(good.getvalue()[:len(good.getvalue())//2])
    Image.fromarray(pixels(60, 60)).save(folder/'cut.jpg')
    (folder/'cut.jpg').write_bytes((folder/'cut.jpg').read_bytes()[:600])
    (folder/'empty.png').write_bytes(b'')
    (folder/'letter.bmp').write_bytes(b'Dear reader')
    return ['cut.jpg', 'cut.png', 'empty.png', 'letter.bmp']

@pytest.mark.parametrize('lazy', [False, True])
def test_unreadable(layout, lazy):
    bad = damaged(layout/'train/0.normal')
    with pytest.raises(ImageError, match='4 of 16 images cannot be read.*skip_unreadable=True'): load_image_folder(layout, lazy=lazy)
    with pytest.warns(UserWarning, match='4 of 16.*left out') as said: train, test = load_image_folder(layout, lazy=lazy, skip_unreadable=True)
    assert len(said) == 1 and sorted(train.unreadable) == [f'train/0.normal/{name}' for name in bad] and not test.unreadable
    assert len(train) == 6 and '4 unreadable' in repr(train) and not any(str(layout) in reason for reason in train.unreadable.values())
    with pytest.raises(ImageError, match='1 of 1 images cannot be read'): load_images([layout/'train/0.normal/cut.png'], skip_unreadable=True)

@pytest.mark.parametrize('lazy', [False, True])
def test_a_path_that_is_given_twice_is_read_twice(tmp_path, lazy):
    for name in 'ab': write(tmp_path/f'{name}.png', seed=ord(name))
    paths = [tmp_path/f'{name}.png' for name in 'aba']
    got = load_images(paths, size=None, lazy=lazy)
    x = np.asarray(got.x)
    assert len(got) == 3 and got.file.tolist() == ['a.png', 'b.png', 'a.png']
    np.testing.assert_array_equal(x[2], x[0]); assert (x[1] != x[0]).any()
    x[0] = 0                                                                    # neither those within a set
    assert x[2].any()
    np.testing.assert_array_equal(np.asarray(load_images(paths, size=None, lazy=lazy).x)[0], x[2])     # nor two sets share anything
    (tmp_path/'c.png').write_bytes(b'no picture')
    with pytest.warns(UserWarning, match='2 of 5'): got = load_images([*paths, *[tmp_path/'c.png']*2], skip_unreadable=True, lazy=lazy)
    assert len(got) == 3 and list(got.unreadable) == ['c.png']

def test_threads_leave_the_warning_filters_as_they_were(layout):
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool: sets = list(pool.map(lambda i: load_images(layout/'train'), range(32)))
    assert warnings.filters == before
    for images in sets: np.testing.assert_array_equal(images.x, sets[0].x)

def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    for name, side in (('a.png', 20), ('warned.png', 40), ('refused.png', 60)): write(tmp_path/name, side, side)
    with pytest.warns(UserWarning, match='2 of 3') as said: got = load_images(tmp_path, skip_unreadable=True)
    assert len(said) == 1 and got.file.tolist() == ['a.png'] and all('too many pixels' in r for r in got.unreadable.values())

def test_mixed(tmp_path):
    for i in range(3): write(tmp_path/f'{i}.png', 20 + i)
    with pytest.raises(ImageError, match=r'3 sizes \(.*20 x 20: 1.*give a size'): load_images(tmp_path, size=None)
    assert load_images(tmp_path).x.shape == (3, 1, 32, 32)
    write(tmp_path/'c.png', channels=3)
    with pytest.raises(ImageError, match='3 images are grey and 1 in colour'): load_images(tmp_path)
    for channels in (1, 3): assert load_images(tmp_path, channels=channels).x.shape[1] == channels

def test_one_size_is_kept(tmp_path):
    p = [write(tmp_path/f'{i}.png', 12, 9, 3, seed=i) for i in range(3)]
    np.testing.assert_allclose(load_images(tmp_path, size=None).x, scaled(np.stack(p)).transpose(0, 3, 1, 2), atol=1e-6)

def test_labels_of_one_class(layout):
    test = load_image_folder(layout)[1]
    with pytest.raises(ValueError, match='4 normal and 0 anomalous'): auroc(np.zeros(4), test.x[:4, 0, 0, 0])
    with pytest.warns(UserWarning, match='need both classes'): assert np.isnan(report(np.ones(2), test.x[4:, 0, 0, 0]).auroc)


# ---- sets and protocols on simulated images

@pytest.fixture
def alone(monkeypatch, own_cache):
    "No data folder, no network"
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(images, 'online', lambda: False)

def test_images():
    got = simulate_images(3)
    assert got.x.shape == (30, 1, 28, 28) and got.x.dtype == np.float32 and np.abs(got.x).max() <= 1 and np.bincount(got.y_class).tolist() == [3]*10
    np.testing.assert_array_equal(simulate_images(3).x, got.x)
    assert len(got[4]) == 1 and got[4].label[0] == FASHION_CLASSES[got.y_class[4]] and len(got.draw(7)) == 7 and got.draw(7).simulated
    np.testing.assert_array_equal(got.draw(7, 1).x, got.draw(7, 1).x)
    with pytest.raises(ValueError, match='of one length'): Images(got.x, got.y[:3], got.y_class, got.classes)
    with pytest.raises(ValueError, match='shape'): Images(got.x[:, 0], got.y, got.y_class, got.classes)
    assert class_number('Bag', FASHION_CLASSES) == class_number(8, FASHION_CLASSES) == 8
    for wrong in ('bag', 10, -1):
        with pytest.raises(ValueError, match='unknown class'): class_number(wrong, FASHION_CLASSES)

def test_alone(alone, own_cache):
    for call in (load_fashion_mnist, lambda: protocol_one_class(0), lambda: protocol_contaminated(0)):
        with pytest.raises(DataNotFound, match='stand_in=True'): call()
    assert 'simulated' in data_note() and load_fashion_mnist(stand_in=True).simulated
    with pytest.raises(ValueError, match="Did you mean 'train'"): load_fashion_mnist('training')

def test_one_class(alone):
    train, test = protocol_one_class('Bag', stand_in=True)
    assert len(train) == 1800 and 'Bag' not in train.label and not train.y.any() and train.simulated
    np.testing.assert_array_equal(test.y, test.label == 'Bag')
    train, test = protocol_one_class(8, 'normal', n=50, stand_in=True)
    assert len(train) == 50 and set(train.label) == {'Bag'} and not train.y.any()
    np.testing.assert_array_equal(test.y, test.label != 'Bag')
    with pytest.raises(ValueError, match='unknown role'): protocol_one_class(0, 'odd', stand_in=True)

@pytest.mark.parametrize('c', [.1, .3, .5, .7, .9])
def test_contaminated(alone, c):
    mixed, whole = protocol_contaminated('Coat', c, stand_in=True), load_fashion_mnist('test', stand_in=True)
    assert mixed.y.tolist() == [0]*100 + [1]*round(100*c) and (mixed.label[:100] == 'Coat').all() and not (mixed.label[100:] == 'Coat').any()
    np.testing.assert_allclose(np.linalg.norm(mixed.x.reshape(len(mixed), -1), axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(mixed.x[100:], unit_length(whole.x[whole.label != 'Coat'][:round(100*c)]))
    drawn = protocol_contaminated('Coat', c, seed=1, stand_in=True)
    np.testing.assert_array_equal(drawn.x[:100], mixed.x[:100])
    assert len(drawn) == len(mixed) and not np.array_equal(drawn.x, mixed.x)

def test_contamination_out_of_range(alone):
    for c in (0, -1, .001, 9.5):
        with pytest.raises(ValueError, match='c must give from 1 to 900'): protocol_contaminated(0, c, stand_in=True)
    assert (unit_length(np.zeros((2, 3), np.float32)) == 0).all()


# ---- found and downloaded

def packed(monkeypatch, folder=None):
    "Small files in place of the four, with their checksums; written into `folder`"
    files = {}
    for name in FASHION_MD5:
        data = idx(np.arange(20*4).reshape(20, 2, 2) if 'images' in name else np.arange(20) % 10)
        monkeypatch.setitem(images.FASHION_MD5, name, hashlib.md5(data).hexdigest())
        files[f'{name}.gz'] = gzip.compress(data)
        if folder: (folder/f'{name}.gz').write_bytes(files[f'{name}.gz'])
    return files

def test_a_named_folder(tmp_path, monkeypatch, own_cache):
    monkeypatch.setenv('GANAD_DATA', str(tmp_path))
    for call in (lambda: load_fashion_mnist(stand_in=True), data_note):
        with pytest.raises(DataNotFound, match='no folder'): call()
    folder = tmp_path/'fashion-mnist'
    folder.mkdir()
    with pytest.raises(DataNotFound, match='get the data set anew'): load_fashion_mnist(stand_in=True)
    packed(monkeypatch, folder)
    got = load_fashion_mnist('test')
    np.testing.assert_allclose(got.x.ravel(), scaled(np.arange(80)), atol=1e-6)
    assert got.y_class.tolist() == [*range(10)]*2 and 'found' in data_note()
    file = folder/'train-images-idx3-ubyte.gz'
    for content, said in ((b'x', 'cannot be unpacked'), (file.read_bytes()[:-12], 'cannot be unpacked'), (gzip.compress(b'else'), 'not the published file')):
        file.write_bytes(content)
        with pytest.raises(DataNotFound, match=said): load_fashion_mnist('train')

def test_downloaded(monkeypatch, own_cache):
    files, asked = packed(monkeypatch), []
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(images, 'online', lambda: True)
    def urlopen(url, timeout):
        asked.append(url)
        if url.startswith(images.FASHION_SOURCES[0]): raise urllib.error.URLError('nobody there')
        return io.BytesIO(files[url.rsplit('/', 1)[1]])
    monkeypatch.setattr(images.urllib.request, 'urlopen', urlopen)
    assert len(load_fashion_mnist('train')) == 20 and len(asked) == 4
    monkeypatch.setattr(images, 'online', lambda: False)
    assert len(load_fashion_mnist('train')) == 20 and len(asked) == 4 # kept
    monkeypatch.setattr(images, 'online', lambda: True)
    files['t10k-images-idx3-ubyte.gz'] = gzip.compress(b'something else')
    with pytest.raises(DataNotFound, match='could not be downloaded.*nobody there.*not the published'): load_fashion_mnist('test')
    assert sorted(f.name for f in (own_cache/'data'/'fashion-mnist').iterdir()) == ['train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz']


# ---- the real set

@pytest.fixture(scope='module')
def real_test():
    if not data_named(): pytest.skip('fashion-mnist: no data folder is named')
    data_folder('fashion-mnist')
    return load_fashion_mnist('test')

def test_the_published_set(real_test):
    assert real_test.x.shape == (10_000, 1, 28, 28) and not real_test.simulated and np.bincount(real_test.y_class).tolist() == [1000]*10
    assert real_test.label[0] == 'Ankle boot' and real_test.x.min() == -1 and real_test.x.max() == 1 and (real_test.y == -1).all()
    train, test = protocol_one_class('Shirt')
    assert len(train) == 54_000 and test.y.sum() == 1000 and np.bincount(train.y_class, minlength=10).tolist() == [6000]*6 + [0] + [6000]*3
    np.testing.assert_array_equal(test.x, real_test.x)

def test_p5_contaminated(real_test):
    mixed = protocol_contaminated('Trouser', .5)
    assert len(mixed) == 1500 and mixed.y.sum() == 500
    others = real_test[real_test.label != 'Trouser']
    np.testing.assert_array_equal(mixed.y_class[1000:], others.y_class[:500])
