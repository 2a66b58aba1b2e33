"""Images as a viewer shows them, and files that are refused in one line."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from predict.media import picture

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict.image import decode_image, read_image
from mmseg_bisenet.predict.sources import find_sources

PICTURE = picture(20, 30)


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert '\n' not in str(caught.value) and str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def png(path, width: int, height: int):
    """A file that has only a header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IEND', b''))
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
    assert reason in refusal(png(tmp_path / 'a.png', width, height))
    assert not recwarn.list


def test_what_cannot_be_read(tmp_path):
    assert refusal(tmp_path / 'none.png').startswith(' does not exist; give')
    (tmp_path / 'empty.png').touch()
    assert refusal(tmp_path / 'empty.png').startswith(' is empty; give')
    (tmp_path / 'text.png').write_text('words')
    assert refusal(tmp_path / 'text.png').startswith(' is no image of a format that is read; give')
    assert refusal(tmp_path).startswith(' cannot be read (Is a directory)')


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
    assert refusal(tmp_path / 'a.tif') == ' has 32-bit pixels; save it with 8 bits'


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
