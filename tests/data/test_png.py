"""PNG files of every kind through kornia-rs or past it: the pixels are those of stock."""

import io
import struct
import zlib

import mmcv
import numpy as np
import pytest
from PIL import Image
from pngs import chunk, passes, png

import mmseg_bisenet.data.transforms as ours


def added(png: bytes, name: bytes, content: bytes, before: bytes = b'IDAT') -> bytes:
    place = png.index(before) - 4
    return png[:place] + chunk(name, content) + png[place:]


def saved(array: np.ndarray, palette: bool = False, **options) -> bytes:
    file, image = io.BytesIO(), Image.fromarray(array)
    if palette:
        image.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    image.save(file, 'PNG', **options)
    return file.getvalue()


RGB = np.random.RandomState(0).randint(0, 256, (13, 17, 3)).astype(np.uint8)
GREY, PLAIN = RGB[:, :, 0] % 19, saved(RGB)
(TURNED := Image.Exif())[0x0112] = 6
FRAME = struct.pack('>IIIIHHBB', 17, 13, 0, 0, 1, 1, 0, 0)
ONE_PIXEL = chunk(b'IDAT', zlib.compress(b'\0' + RGB[0, 0].tobytes())) + chunk(b'IEND', b'')
FILES = {
    'RGB': PLAIN,
    'RGB, one line': saved(RGB[:1]),
    'RGB, with a comment': added(PLAIN, b'tEXt', b'Title\0a street'),
    'RGB, with gamma and resolution': added(added(PLAIN, b'gAMA', struct.pack('>I', 45455)), b'pHYs', bytes(9)),
    'RGB, with a background': added(PLAIN, b'bKGD', bytes(6)),
    'grey': saved(GREY),
    'grey and alpha': saved(np.dstack([GREY, GREY])),
    'RGBA': saved(np.dstack([RGB, GREY])),
    'a palette': saved(GREY, palette=True),
    'a palette of four bits': saved(GREY % 16, palette=True, bits=4),
    'one bit': saved(GREY > 9),
    'sixteen bits': saved(GREY.astype(np.uint16) * 256),
    'a transparent colour': saved(RGB, transparency=tuple(RGB[3, 4].tolist())),
    'a transparent grey': saved(GREY, transparency=3),
    'on its side': saved(RGB, exif=TURNED),
    'on its side, said last': added(PLAIN, b'eXIf', TURNED.tobytes()[6:], before=b'IEND'),
    'animated': added(added(PLAIN, b'acTL', struct.pack('>II', 1, 0)), b'fcTL', bytes(4) + FRAME),
    'interlaced': PLAIN[:8] + chunk(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 2, 0, 0, 1)) + ONE_PIXEL,
    'something after the end': PLAIN + b'more',
}
# The flag and the usual backend of images, and of labels.
KINDS = {'color': 'cv2', 'unchanged': 'pillow'}


@pytest.mark.parametrize('flag', KINDS)
@pytest.mark.parametrize('name', FILES)
def test_a_png_is_decoded_as_stock_decodes_it(name, flag):
    pytest.importorskip('kornia_rs')
    mine = ours._decode(FILES[name], flag, KINDS[flag])
    theirs = mmcv.imfrombytes(FILES[name], flag=flag, backend=KINDS[flag])
    assert mine.dtype == theirs.dtype
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize('flag', KINDS)
def test_only_plain_files_leave_the_stock_way(monkeypatch, flag):
    asked = []
    monkeypatch.setattr(ours, 'decode_image_png_u8', lambda content, size, mode: asked.append((content, mode)))
    for content in FILES.values():
        ours._decode(content, flag, KINDS[flag])
    plain = [name for name in FILES if name.startswith('RGB') and name != 'RGBA'] if flag == 'color' else ['grey']
    mode = {'color': 'rgb', 'unchanged': 'mono'}[flag]
    assert asked == [(FILES[name], mode) for name in plain]


@pytest.mark.parametrize('missing', [1, 4, 12, 13, 20, 400])
def test_a_png_that_is_cut_short_gives_no_image(missing):
    pytest.importorskip('kornia_rs')
    assert ours._decode(PLAIN, 'color', 'cv2').shape == (13, 17, 3)
    assert ours._decode(PLAIN[:-missing], 'color', 'cv2') is None
    damaged = bytearray(PLAIN)
    damaged[-missing - 30] ^= 1  # within the pixels: the checksum tells
    assert ours._decode(bytes(damaged), 'color', 'cv2') is None


@pytest.mark.parametrize(('height', 'interlaced'), [(13, 0), (13, 1), (12, 1)])
def test_a_label_that_lacks_pixels_is_refused(monkeypatch, height, interlaced):
    """Pillow gives 0 for them, which is a class. In an interlaced file, every second row comes last."""
    whole = [b'\0' + bytes([3]) * columns for rows, columns in passes(height, 16, interlaced) for _ in range(rows)]

    def label(rows: list[bytes]) -> bytes:
        return png(height, 16, 0, b''.join(rows), interlaced=interlaced)

    monkeypatch.setattr(ours, 'decode_image_png_u8', None)
    assert (ours._decode(label(whole), 'unchanged', 'pillow') == 3).all()
    for missing in (1, 3):
        assert 0 in mmcv.imfrombytes(label(whole[:-missing]), flag='unchanged', backend='pillow')
        with pytest.raises(ValueError, match=r'^pixels are missing$'):
            ours._decode(label(whole[:-missing]), 'unchanged', 'pillow')
