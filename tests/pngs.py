"""PNG files of any content, with right checksums (ISO/IEC 15948)."""

import struct
import zlib

START = b'\x89PNG\r\n\x1a\n'


def chunk(kind: bytes, content: bytes, wrong: int = 0) -> bytes:
    """``wrong`` changes its checksum."""
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content) ^ wrong)


def png(height: int, width: int, colour: int, data: bytes, bits: int = 8, interlaced: int = 0) -> bytes:
    """``data``: the rows, each with its filter before it."""
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, interlaced)
    return START + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(data)) + chunk(b'IEND', b'')


def passes(height: int, width: int, interlaced: int) -> list[tuple[int, int]]:
    """Rows and columns of each pass, in the order of the file."""
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    return [
        (len(range(top, height, down)), len(range(left, width, right)))
        for top, left, down, right in (steps if interlaced else [(0, 0, 1, 1)])
    ]
