"""Images as a viewer shows them, and files that are refused in one line."""

import math
import os
import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile
from pngs import START, chunk, passes, png
from predict.media import picture

from mmseg_bisenet.data.transforms import LoadImageFromFile
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.photographs import fault
from mmseg_bisenet.predict.image import decode_image, read_image, to_bgr
from mmseg_bisenet.predict.sources import find_sources

PICTURE = picture(20, 30)


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert '\n' not in str(caught.value) and str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def header_only(path, width: int, height: int):
    """A file that has only a header."""

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    path.write_bytes(START + chunk(b'IHDR', header) + chunk(b'IEND', b''))
    return path


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_that_of_opencv(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PICTURE).save(tmp_path / 'a.jpg', exif=exif, quality=95)
    expected = cv2.imread(str(tmp_path / 'a.jpg'))
    assert expected.shape[:2] == ((20, 30) if orientation < 5 else (30, 20))
    # Both decode JPEG by libjpeg-turbo, but may be built with different versions.
    assert np.abs(read_image(tmp_path / 'a.jpg').astype(int) - expected).max() <= 1


@pytest.mark.parametrize('mode', ['RGB', 'L', 'LA', 'RGBA', 'P', '1'])
def test_modes_are_converted_as_opencv_does(tmp_path, mode):
    Image.fromarray(PICTURE[..., ::-1]).convert(mode).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), cv2.imread(str(tmp_path / 'a.png')))


def test_a_palette_with_transparency(tmp_path):
    image = Image.fromarray(PICTURE).quantize(4)
    image.save(tmp_path / 'a.png', transparency=bytes([0, 100, 200, 255]))
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), np.asarray(image.convert('RGB'))[..., ::-1])


def test_cmyk(tmp_path):
    Image.fromarray(PICTURE).convert('CMYK').save(tmp_path / 'a.jpg', quality=100, subsampling=0)
    expected = Image.fromarray(PICTURE)
    assert np.abs(read_image(tmp_path / 'a.jpg').astype(int) - np.asarray(expected)[..., ::-1]).mean() < 3


@pytest.mark.parametrize(('name', 'shape'), [('a.png', (20, 30)), ('a.png', (20, 30, 3)), ('a.pgm', (20, 30))])
def test_sixteen_bits(tmp_path, name, shape):
    pixels = np.random.RandomState(0).randint(0, 65536, shape, np.uint16)
    cv2.imwrite(str(tmp_path / name), pixels)
    expected = (pixels >> 8).astype(np.uint8)
    np.testing.assert_array_equal(
        read_image(tmp_path / name), expected if expected.ndim == 3 else np.stack([expected] * 3, -1)
    )


def test_a_name_of_any_bytes(tmp_path):
    path = tmp_path / os.fsdecode(b'stra\xdfe.png')
    path.write_bytes(cv2.imencode('.png', PICTURE)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), PICTURE)


@pytest.mark.parametrize(
    'width, height, reason',
    [
        (10_000, 10_000, 'the limit is 64 megapixels'),
        (20_000, 10_000, 'the limit is 64 megapixels'),
        (1, 60_000, 'a side may be 16 times the other'),
        (60_000, 1, 'a side may be 16 times the other'),
    ],
)
def test_sizes_are_checked_from_the_header(tmp_path, width, height, reason, recwarn):
    assert reason in refusal(header_only(tmp_path / 'a.png', width, height))
    assert not recwarn.list


def test_a_smaller_limit_of_pillow(tmp_path, monkeypatch):
    header_only(tmp_path / 'a.png', 300, 100)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert refusal(tmp_path / 'a.png') == (
        ' is too large for Pillow; raise PIL.Image.MAX_IMAGE_PIXELS, which is 100, or make it smaller'
    )


def test_what_cannot_be_read(tmp_path):
    assert refusal(tmp_path / 'none.png').startswith(' does not exist; give')
    (tmp_path / 'empty.png').touch()
    assert refusal(tmp_path / 'empty.png').startswith(' is empty; give')
    (tmp_path / 'text.png').write_text('words')
    assert refusal(tmp_path / 'text.png').startswith(' is no image of a format that is read; give')
    assert refusal(tmp_path) == ' is a folder; label it with Predictor.stream, or with mmseg-bisenet predict'


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'a.png')
    assert refusal(tmp_path / 'a.png') == ' is a pipe or a device; save what it gives to a file'
    for name in ('a.mp4', 'a.txt'):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=f'{name} is a pipe or a device'):
            find_sources([tmp_path / name])


def test_pixels_of_a_png_whose_checksum_is_wrong(tmp_path):
    file = tmp_path / 'street.png'
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(file)
    content = bytearray(file.read_bytes())
    content[-16] ^= 1  # of the checksum before the last chunk
    file.write_bytes(content)
    with pytest.raises(InputError, match=r'street\.png cannot be read .*; replace the file'):
        read_image(file)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_a_truncated_file(tmp_path, suffix):
    content = cv2.imencode(suffix, picture(64, 64))[1].tobytes()
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content[: len(content) // 2])
    assert refusal(path)


def test_a_truncated_file_if_pillow_shall_fill_it_in(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    test_a_truncated_file(tmp_path, '.jpg')
    with pytest.raises(InputError, match='cannot be read'):
        to_bgr(Image.open(tmp_path / 'a.jpg'))
    np.testing.assert_array_equal(decode_image(cv2.imencode('.png', PICTURE)[1].tobytes()), PICTURE)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tif'])
def test_several_frames_or_pages(tmp_path, suffix):
    frames = [Image.fromarray(picture(20, 30, seed)) for seed in range(3)]
    frames[0].save(tmp_path / f'a.{suffix}', save_all=True, append_images=frames[1:])
    assert refusal(tmp_path / f'a.{suffix}').startswith(' has 3 frames or pages; save it as a video')


def test_a_jpeg_with_a_preview(tmp_path):
    """Cameras and phones write such files."""
    Image.fromarray(PICTURE).save(
        tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=[Image.fromarray(PICTURE[:8, :8])]
    )
    assert read_image(tmp_path / 'a.jpg').shape == (20, 30, 3)


def test_floating_point(tmp_path):
    Image.fromarray(np.zeros((20, 30), np.float32)).save(tmp_path / 'a.tif')
    fix = 'save it as PNG, or as TIFF in RGB or grey with 8 bits'
    assert refusal(tmp_path / 'a.tif') == f' is a TIFF with bits a sample 32; {fix}'


def tiff(pixels: np.ndarray, kind: int, planes: bool = False, extra: bool = False) -> bytes:
    """A TIFF without compression: (H, W, channels), of that photometric interpretation."""
    height, width, channels = pixels.shape
    data = np.moveaxis(pixels, 2, 0).tobytes() if planes else pixels.tobytes()
    strips = channels if planes else 1
    size, count = len(data) // strips, 11 + extra
    more = b''

    def entry(tag: int, values: list[int]) -> bytes:
        nonlocal more
        packed = struct.pack(f'<{len(values)}I', *values)
        where = packed if len(packed) == 4 else struct.pack('<I', 14 + 12 * count + len(more))
        more += packed if len(packed) > 4 else b''
        return struct.pack('<HHI', tag, 4, len(values)) + where

    def head(start: int) -> bytes:
        nonlocal more
        more = b''
        sample = dict(u=1, i=2, f=3)[pixels.dtype.kind]
        fields = {256: [width], 257: [height], 258: [8 * pixels.itemsize] * channels, 259: [1], 262: [kind]}
        fields |= {273: [start + size * i for i in range(strips)], 277: [channels], 278: [height]}
        fields |= {279: [size] * strips, 284: [1 + planes]} | ({338: [2]} if extra else {}) | {339: [sample] * channels}
        entries = b''.join(entry(tag, values) for tag, values in fields.items())
        return b'II*\0' + struct.pack('<IH', 8, count) + entries + bytes(4) + more

    return head(len(head(0))) + data


RGB = PICTURE[..., ::-1]
WIDE = RGB.astype(np.uint16) * 256
FOUR = np.dstack([RGB, RGB[..., :1]])


@pytest.mark.parametrize(
    'content',
    [
        tiff(RGB, 2),
        tiff(RGB, 2, planes=True),
        tiff(RGB[..., :1], 1),
        tiff(RGB[..., :1], 0),
    ],
)
def test_tiff_is_read_as_a_data_set_reads_it(tmp_path, content):
    (tmp_path / 'a.tif').write_bytes(content)
    sample = LoadImageFromFile().transform(dict(img_path=str(tmp_path / 'a.tif')))
    np.testing.assert_array_equal(read_image(tmp_path / 'a.tif'), sample['img'])


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (tiff(WIDE, 2, planes=True), 'bits a sample 16'),
        (tiff(WIDE, 2), 'bits a sample 16'),
        (tiff(WIDE[..., :1], 0), 'bits a sample 16'),
        (tiff(WIDE[..., :1].astype(np.int16), 1), 'bits a sample 16'),
        (tiff(RGB[..., :1].astype(np.int8), 1), 'type of samples 2'),
        (tiff(RGB[..., :1].astype(np.uint32), 1), 'bits a sample 32'),
        (tiff(FOUR, 2, extra=True), 'samples a pixel 4'),
        (tiff(FOUR, 2, extra=True, planes=True), 'samples a pixel 4'),
        (tiff(FOUR, 5), 'samples a pixel 4'),
        (tiff(RGB, 8), 'photometric interpretation 8'),
    ],
)
def test_tiff_of_other_kinds_is_refused_everywhere(tmp_path, content, reason):
    path = tmp_path / 'a.tif'
    path.write_bytes(content)
    fix = 'save it as PNG, or as TIFF in RGB or grey with 8 bits'
    assert refusal(path) == f' is a TIFF with {reason}; {fix}'
    with pytest.raises(InputError) as caught:
        LoadImageFromFile().transform(dict(img_path=str(path)))
    assert str(caught.value) == f'{path}: the image is a TIFF with {reason}; {fix}'


ROWS = b''.join(b'\0' + row.tobytes() for row in np.ascontiguousarray(RGB))
HEADER = chunk(b'IHDR', struct.pack('>IIBBBBB', 30, 20, 8, 2, 0, 0, 0))


@pytest.mark.parametrize(
    ('chunks', 'reason'),
    [
        (HEADER + chunk(b'tEXt', b'a\0b', wrong=1), " has a wrong checksum in its chunk 'tEXt'; replace the file"),
        (HEADER + chunk(b'eXIf', b'MM\0*', wrong=1), " has a wrong checksum in its chunk 'eXIf'; replace the file"),
        (HEADER + chunk(b'ABCD', b''), " has a chunk 'ABCD' that is not allowed there; save it again as PNG"),
        (HEADER * 2, " has a chunk 'IHDR' that is not allowed there; save it again as PNG"),
        (chunk(b'IHDR', struct.pack('>IIBBBBB', 30, 20, 8, 3, 0, 0, 0)), ' has no palette; save it again as PNG'),
        (HEADER + chunk(b'acTL', struct.pack('>II', 2, 0)), ' has 2 frames or pages; save it as a video, or as'),
    ],
)
def test_png_that_decoders_read_differently_is_refused_everywhere(tmp_path, chunks, reason):
    path = tmp_path / 'a.png'
    path.write_bytes(START + chunks + chunk(b'IDAT', zlib.compress(ROWS)) + chunk(b'IEND', b''))
    assert fault(path.read_bytes()).startswith(reason.strip())
    with pytest.raises(InputError, match=re.escape(f'{path}')):
        read_image(path)
    with pytest.raises(InputError) as caught:
        LoadImageFromFile().transform(dict(img_path=str(path)))
    assert str(caught.value).startswith(f'{path}: the image{reason}')


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize(('bits', 'colour', 'channels'), [(8, 2, 3), (16, 0, 1), (4, 0, 0.5), (8, 6, 4), (1, 0, 1 / 8)])
def test_png_that_lacks_pixels(tmp_path, bits, colour, channels, interlaced):
    """Pillow fills them in. The sizes of the passes are those of libpng, which writes such files."""
    path = tmp_path / 'a.png'
    of_libpng = [(3, 4), (3, 4), (2, 8), (5, 7), (5, 15), (10, 15), (10, 30)]
    sizes = passes(20, 30, interlaced)
    assert sizes == (of_libpng if interlaced else [(20, 30)])
    size = sum(rows * (1 + math.ceil(columns * bits * {0: 1, 2: 3, 6: 4}[colour] / 8)) for rows, columns in sizes)

    def save(length: int) -> None:
        path.write_bytes(png(20, 30, colour, bytes(length), bits, interlaced))

    save(size)
    assert not read_image(path).any()
    save(size - 1)
    assert refusal(path) == ' lacks some of its pixels; replace the file'
    with pytest.raises(InputError):
        LoadImageFromFile().transform(dict(img_path=str(path)))


@pytest.mark.parametrize('kind', ['P5', 'P6'])
def test_values_of_ppm_that_opencv_does_not_scale(tmp_path, kind):
    path = tmp_path / 'a.ppm'
    for most in (100, 1000):
        path.write_bytes(f'{kind} # a\n30 20 # b\n{most}\n'.encode() + bytes(20 * 30 * 3 * 2))
        assert refusal(path) == f' has values up to {most}; save it with values up to 255'


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tif'])
def test_a_data_set_takes_no_animation(tmp_path, suffix):
    frames = [Image.fromarray(picture(20, 30, seed)) for seed in range(3)]
    path = tmp_path / f'a.{suffix}'
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match='the image has 3 frames or pages; save it as a video, or as single images'):
        LoadImageFromFile().transform(dict(img_path=str(path)))


# -- pictures of Pillow ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'mode', ['1', 'L', 'P', 'RGB', 'RGBA', 'RGBX', 'RGBa', 'LA', 'PA', 'La', 'CMYK', 'YCbCr', 'HSV']
)
def test_every_mode_of_eight_bits_is_converted(mode):
    steps = dict(PA=['P', 'PA'], La=['LA', 'La'], RGBa=['RGBA', 'RGBa']).get(mode, [mode])
    image = Image.fromarray(RGB)
    for step in steps:
        image = image.convert(step)
    assert image.mode == mode
    expected = RGB[..., ::-1]
    if mode in ('L', 'LA', 'La', '1'):
        grey = Image.fromarray(RGB).convert('1' if mode == '1' else 'L').convert('L')
        expected = np.stack([np.asarray(grey)] * 3, -1)
    if mode in ('P', 'PA'):
        expected = np.asarray(Image.fromarray(RGB).convert('P').convert('RGB'))[..., ::-1]
    assert np.abs(to_bgr(image).astype(int) - expected).max() <= (4 if mode in ('YCbCr', 'HSV') else 0)


@pytest.mark.parametrize(('mode', 'order'), [('I;16', '<'), ('I;16B', '>')])
def test_sixteen_bits_of_pillow(mode, order):
    pixels = np.random.RandomState(0).randint(0, 65536, (20, 30)).astype(f'{order}u2')
    converted = to_bgr(Image.frombytes(mode, (30, 20), pixels.tobytes()))
    np.testing.assert_array_equal(converted, np.stack([(pixels >> 8).astype(np.uint8)] * 3, -1))


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_thirty_two_bits_of_pillow(mode):
    with pytest.raises(InputError, match='the image has 32-bit pixels; save it with 8 bits'):
        to_bgr(Image.fromarray(RGB).convert(mode))


def test_a_picture_of_pillow_that_is_closed_or_cut_short(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    image = Image.open(tmp_path / 'a.png')
    image.close()
    with pytest.raises(InputError, match='the image cannot be read '):
        to_bgr(image)
    content = (tmp_path / 'a.png').read_bytes()
    (tmp_path / 'a.png').write_bytes(content[:-60])
    with pytest.raises(InputError, match=r'the image cannot be read \(image file is truncated'):
        to_bgr(Image.open(tmp_path / 'a.png'))


# -- the content of a file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
def test_content_is_read_as_its_file_is(tmp_path, name):
    path = tmp_path / name
    cv2.imwrite(str(path), PICTURE)
    np.testing.assert_array_equal(decode_image(path.read_bytes()), read_image(path))


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        (b'', 'is empty; give a PNG or JPEG file'),
        (b'%PDF-1.7', 'is no image of a format that is read; give a PNG or JPEG file'),
        (cv2.imencode('.png', PICTURE)[1].tobytes()[:-40], 'cannot be read ('),
        (cv2.imencode('.jpg', PICTURE)[1].tobytes()[:-40], 'cannot be read ('),
    ],
)
def test_wrong_content_is_named_as_the_caller_says(content, text):
    with pytest.raises(InputError) as caught:
        decode_image(content, 'the upload')
    assert str(caught.value).startswith(f'the upload {text}') and '\n' not in str(caught.value)
