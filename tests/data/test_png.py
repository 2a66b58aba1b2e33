"""PNG files of every kind through kornia-rs or past it: the pixels are those of stock."""

import io
import struct
import zlib

import mmcv
import numpy as np
import pytest
from PIL import Image

import mmseg_bisenet.data.transforms as ours


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def added(png: bytes, name: bytes, content: bytes, before: bytes = b'IDAT') -> bytes:
    place = png.index(before) - 4
    return png[:place] + chunk(name, content) + png[place:]


def png(array: np.ndarray, palette: bool = False, **options) -> bytes:
    file, image = io.BytesIO(), Image.fromarray(array)
    if palette:
        image.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    image.save(file, 'PNG', **options)
    return file.getvalue()


RGB = np.random.RandomState(0).randint(0, 256, (13, 17, 3)).astype(np.uint8)
GREY, PLAIN = RGB[:, :, 0] % 19, png(RGB)
(TURNED := Image.Exif())[0x0112] = 6
FRAME = struct.pack('>IIIIHHBB', 17, 13, 0, 0, 1, 1, 0, 0)
ONE_PIXEL = chunk(b'IDAT', zlib.compress(b'\0' + RGB[0, 0].tobytes())) + chunk(b'IEND', b'')
FILES = {
    'RGB': PLAIN,
    'RGB, one line': png(RGB[:1]),
    'RGB, with a comment': added(PLAIN, b'tEXt', b'Title\0a street'),
    'RGB, with gamma and resolution': added(added(PLAIN, b'gAMA', struct.pack('>I', 45455)), b'pHYs', bytes(9)),
    'RGB, with a background': added(PLAIN, b'bKGD', bytes(6)),
    'grey': png(GREY),
    'grey and alpha': png(np.dstack([GREY, GREY])),
    'RGBA': png(np.dstack([RGB, GREY])),
    'a palette': png(GREY, palette=True),
    'a palette of four bits': png(GREY % 16, palette=True, bits=4),
    'one bit': png(GREY > 9),
    'sixteen bits': png(GREY.astype(np.uint16) * 256),
    'a transparent colour': png(RGB, transparency=tuple(RGB[3, 4].tolist())),
    'a transparent grey': png(GREY, transparency=3),
    'on its side': png(RGB, exif=TURNED),
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
