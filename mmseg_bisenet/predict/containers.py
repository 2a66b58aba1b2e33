"""What a file is by its first bytes, and whether a video is cut off.

FFmpeg ends at the end of a file without an error, also if the file says that it is longer. These formats say how long
they are: RIFF (AVI), EBML (Matroska, WebM), boxes (MP4, MOV; ISO 14496-12), ASF (WMV), packets of 188 bytes (MPEG-TS).
MPEG program streams do not.
"""

import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mmseg_bisenet.photographs import JPEG, PNG

START = 4096  # bytes that a format is known by
EBML, SEGMENT, CLUSTER = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67', b'\x1f\x43\xb6\x75'
ASF = bytes.fromhex('3026b2758e66cf11a6d900aa0062ce6c')
ASF_FILE = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')  # its object with the size of the file
BOXES = (b'ftyp', b'moov', b'mdat', b'free', b'skip', b'wide')
PACKET = 188  # bytes of MPEG-TS
IMAGES = {
    PNG: 'PNG',
    JPEG: 'JPEG',
    b'BM': 'BMP',
    b'GIF8': 'GIF',
    b'II*\0': 'TIFF',
    b'MM\0*': 'TIFF',
}


def kind_of_video(start: bytes) -> str:
    """The format of a video by its first bytes, or ''."""
    if start[4:8] in BOXES and start[8:12] not in (b'avif', b'avis', b'heic', b'mif1'):
        return 'MP4'
    if start[:4] == b'RIFF' and start[8:12] == b'AVI ':
        return 'AVI'
    if start[:4] == EBML:
        return 'Matroska'
    if start[:16] == ASF:
        return 'ASF'
    if start[:3] == b'FLV':
        return 'FLV'
    if start[:4] == b'\0\0\1\xba':
        return 'MPEG'
    if len(start) > PACKET and start[::PACKET].strip(b'G') == b'':
        return 'MPEG-TS'
    return ''


def kind_of_image(path: Path) -> str:
    """The format of an image by its first bytes, or ''."""
    with suppress(OSError), path.open('rb') as file:
        start = file.read(12)
        if start[:4] == b'RIFF' and start[8:] == b'WEBP':
            return 'WebP'
        return next((kind for mark, kind in IMAGES.items() if start.startswith(mark)), '')
    return ''


def is_cut_off(path: Path) -> bool:
    """Whether a video says that it is longer than its file. False if it does not say how long it is."""
    if not path.is_file():  # a pipe would be waited for
        return False
    with suppress(OSError, struct.error), path.open('rb') as file:
        size = path.stat().st_size
        kind = kind_of_video(file.read(START))
        file.seek(0)
        if kind == 'MP4':
            return _end_of_boxes(file, size) > size
        if kind == 'AVI':
            return _end_of_riff(file, size) > size
        if kind == 'Matroska':
            return _end_of_ebml(file, size) > size
        if kind == 'ASF':
            return _size_of_asf(file.read(2**16)) > size
        if kind == 'MPEG-TS':
            return size % PACKET > 0
    return False


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    end = 0
    while end < size:
        file.seek(end)
        length, _, large = struct.unpack('>I4sQ', file.read(16).ljust(16, b'\0'))
        length = large if length == 1 else length
        if length < 8:  # up to the end, or no box
            break
        end += length
    return end


def _end_of_riff(file: BinaryIO, size: int) -> int:
    end = 0
    while end < size:
        file.seek(end)
        mark, length = struct.unpack('<4sI', file.read(8).ljust(8, b'\0'))
        if mark != b'RIFF' or length in (0, 2**32 - 1):  # one that was never closed
            break
        end += 8 + length
    return end


def _end_of_ebml(file: BinaryIO, size: int) -> int:
    """The end of the last element. One of unknown size, as in a recording of a stream, ends with its last part."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(12)
        width = 9 - head[0].bit_length()  # of the id
        if width > 4:  # no element
            break
        octets = head[width : width + 8]
        if not octets or not octets[0]:
            return end + len(head) if octets else size + 1
        count = 9 - octets[0].bit_length()
        length = int.from_bytes(octets[:count], 'big') & (1 << 7 * count) - 1
        end += width + count
        if length != (1 << 7 * count) - 1:
            end += length
        elif head[:width] not in (SEGMENT, CLUSTER):
            break
    return end


def _size_of_asf(start: bytes) -> int:
    place = start.find(ASF_FILE)
    if place < 0:
        return 0
    (size,) = struct.unpack('<Q', start[place + 40 : place + 48])
    (flags,) = struct.unpack('<I', start[place + 88 : place + 92])
    return 0 if flags & 1 else size  # of a broadcast it is not known
