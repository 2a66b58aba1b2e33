"""Image files that decoders read differently, or in part: found in their headers, before anything is decoded.

Pillow reads the images of `predict`, OpenCV those of a data set. Both give the same pixels of files that pass here.
"""

import re
import struct
import zlib
from io import BytesIO

from PIL import Image

# No format that runs programs, such as EPS.
FORMATS = ('BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
JPEG, PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'  # the first bytes
CRITICAL = {b'IHDR', b'PLTE', b'IDAT', b'IEND'}  # chunks of PNG that have to be understood
# Tags of TIFF (TIFF 6.0, Adobe 1992) with the values that are read, the first if it is missing.
TIFF = {
    'samples a pixel': (277, (1, 3)),
    'bits a sample': (258, (1, 4, 8)),
    'type of samples': (339, (1,)),
    'photometric interpretation': (262, (0, 1, 2, 3, 6)),
}
EXIF_ORIENTATION = 0x0112
PPM = re.compile(rb'P[2356](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)\s')
MAXIMA = (255, 65535)  # of PGM and PPM; OpenCV takes other ones for these


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 is upright."""
    exif = Image.Exif()  # `image.getexif` would decode a PNG
    exif.load(image.info.get('exif', b''))
    return exif.get(EXIF_ORIENTATION, 1)


def fault(content: bytes) -> str:
    """What is wrong with the content of an image file, and the fix; or ''. Pillow's errors if it is none."""
    if content.startswith(JPEG):  # one with a preview behind it has two frames
        return ''
    if content.startswith(PNG):
        return _fault_of_png(content)
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        frames = getattr(image, 'n_frames', 1)
        if frames > 1:
            return _several(frames)
        if image.format == 'TIFF':
            return _fault_of_tiff(image)
        if (header := PPM.match(content)) and int(header[1]) not in MAXIMA:
            return f'has values up to {int(header[1])}; save it with values up to {MAXIMA[0]}'
    return ''


def _several(frames: int) -> str:
    return f'has {frames} frames or pages; save it as a video, or as single images'


def _fault_of_tiff(image: Image.Image) -> str:
    tags = image.tag_v2  # type: ignore[attr-defined]
    for name, (tag, known) in TIFF.items():
        values = tags.get(tag, known[0])
        for value in values if isinstance(values, tuple) else (values,):
            if value not in known:
                return f'is a TIFF with {name} {value}; save it as PNG, or as TIFF in RGB or grey with 8 bits'
    return ''


def _fault_of_png(content: bytes) -> str:
    """Decoders find files that are cut short, and check the pixels. Of other chunks, each leaves out what it does not
    know, or what has a wrong checksum.
    """
    start, seen = len(PNG), set()
    while start < len(content) and b'IEND' not in seen:
        size, kind = struct.unpack('>I4s', content[start : start + 8].ljust(8, b'\0'))
        end = start + 12 + size
        if end > len(content):
            break
        name = kind.decode('ascii', 'replace')
        if kind != b'IDAT':
            if zlib.crc32(content[start + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], 'big'):
                return f'has a wrong checksum in its chunk {name!r}; replace the file'
            if (kind in CRITICAL and kind in seen) or (not kind[0] & 32 and kind not in CRITICAL):
                return f'has a chunk {name!r} that is not allowed there; save it again as PNG'
            if kind == b'acTL' and (frames := int.from_bytes(content[start + 8 : start + 12], 'big')) > 1:
                return _several(frames)
        elif content[25:26] == b'\3' and b'PLTE' not in seen:
            return 'has no palette; save it again as PNG'
        seen.add(kind)
        start = end
    return 'lacks its pixels; replace the file' if b'IEND' in seen and b'IDAT' not in seen else ''


def is_whole_png(content: bytes) -> bool:
    """Whether a PNG without another fault has all its pixels. Pillow fills in those that are missing."""
    width, height, bits, colour, _, _, interlaced = struct.unpack('>IIBBBBB', content[16:29])
    bits *= {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    needed = 0
    for top, left, down, right in passes if interlaced else [(0, 0, 1, 1)]:
        rows, columns = -(-(height - top) // down), -(-(width - left) // right)
        needed += rows * (1 + -(-columns * bits // 8)) if rows > 0 and columns > 0 else 0
    stream, start, found = zlib.decompressobj(), len(PNG), 0
    while start < len(content):
        size = int.from_bytes(content[start : start + 4], 'big')
        if content[start + 4 : start + 8] == b'IDAT':
            found += len(stream.decompress(content[start + 8 : start + 8 + size], needed - found))
            if found >= needed:
                return True
        start += 12 + size
    return False
