"""What a user names as SOURCE, as a list of sources that yield frames.

A source is an image, a video, a stream or a camera. A folder, a glob and a list are the images and videos in them.
"""

import glob
import os
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.folders import EVERYTHING, find_files
from mmseg_bisenet.pixels import SUFFIXES
from mmseg_bisenet.predict import image, video

SCHEMES = 'rtsp', 'rtsps', 'rtmp', 'rtmps', 'http', 'https', 'udp', 'tcp', 'srt'
URL = re.compile(rf'({"|".join(SCHEMES)})://', re.IGNORECASE)
LIST = '.txt'
LAST_CAMERA = 2**31 - 1  # OpenCV's type


@dataclass
class Frame:
    """One image of a source.

    Args:
        image: (H, W, 3) uint8, BGR, upright.
        name: of its outputs, without suffix: ``street``, or ``drive/000001`` for the first frame of a video.
        source: that it comes from.
        time: seconds since the start of the video; None for an image.
        start: when reading it began, on the clock of ``time.perf_counter``.
        times: milliseconds by stage; reading adds ``decode``.
        path: of its file, absolute from when reading began; None if it is of no file.
    """

    image: np.ndarray
    name: str
    source: 'Source'
    time: float | None = None
    start: float = field(default_factory=perf_counter)
    times: dict[str, float] = field(default_factory=dict)
    path: Path | None = None


class Source:
    """One image, video, stream or camera.

    Attributes:
        name: of its outputs, without suffix; it may have folders in front.
        path: of a file, else None.
        moving: whether it has frames over time.
        live: whether frames come at their own pace, so that the newest counts.
        pixel_aspect: width of a pixel by its height, known once reading has begun.
    """

    path: Path | None = None
    moving = True
    live = False
    pixel_aspect = Fraction(1)

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        """As messages name it."""
        return str(self.path or self.name)

    def count(self) -> int | None:
        """The number of frames, if it is known before they are read."""
        return None

    def images(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Images, (H, W, 3) uint8 BGR, and their times.

        Raises:
            InputError: it cannot be read, or no further.
        """
        raise NotImplementedError

    def frames(self) -> Iterator[Frame]:
        """As :meth:`images`, with names and the time that reading took."""
        start, path = perf_counter(), None
        for number, (pixels, seconds) in enumerate(self.images(), 1):
            name = f'{self.name}/{number:06}' if self.moving else self.name
            path = path or (self.path and self.path.absolute())  # the current folder may change while frames come
            yield Frame(pixels, name, self, seconds, start, dict(decode=(perf_counter() - start) * 1e3), path)
            start = perf_counter()


class ImageFile(Source):
    """An image file."""

    moving = False

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(name)
        self.path: Path = path

    def count(self) -> int:
        return 1

    def images(self) -> Iterator[tuple[np.ndarray, float | None]]:
        yield image.read_image(self.path), None


class LeftOut(ImageFile):
    """A folder inside of a folder or a glob that is not searched. As a source it is listed, as wrong files are."""

    def __init__(self, path: Path, name: str, reason: str) -> None:
        super().__init__(path, name)
        self.reason = reason

    def images(self) -> Iterator[tuple[np.ndarray, float | None]]:
        raise InputError(self.reason)


class VideoFile(Source):
    """A video file."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(name)
        self.path: Path = path

    def count(self) -> int | None:
        return video.frame_count(self.path)

    def images(self) -> Iterator[tuple[np.ndarray, float | None]]:
        self.pixel_aspect = video.pixel_aspect(self.path)
        return video.video_frames(self.path)


class Stream(Source):
    """A stream by its address. It is live if it has no length."""

    def __init__(self, url: str) -> None:
        place = re.sub('://[^/]*@', '://', url).partition('://')[2].partition('?')[0]  # without user and password
        super().__init__(re.sub(r'\W+', '_', place).strip('_') or 'stream')
        scheme, colon, rest = url.partition(':')
        self.url = scheme.lower() + colon + rest  # as FFmpeg takes it

    def __str__(self) -> str:
        return video.masked(self.url)

    @cached_property
    def _container(self) -> Any:
        return video.connect(self.url)

    @cached_property
    def live(self) -> bool:  # type: ignore[override]
        return self._container.duration is None

    def images(self) -> Iterator[tuple[np.ndarray, float | None]]:
        self.pixel_aspect = video.shape_of_pixels(self._container)
        return video.stream_frames(self.url, self._container, self.live)


class Camera(Source):
    """A camera by its number."""

    live = True

    def __init__(self, number: int) -> None:
        super().__init__(f'camera{number}')
        self.number = number

    def images(self) -> Iterator[tuple[np.ndarray, float | None]]:
        return video.camera_frames(self.number)


# -- what a text names -------------------------------------------------------------------------------------------------


def find_sources(texts: Sequence[str | Path | int], but: Path | None = None) -> list[Source]:
    """The sources that the texts name, in order; files of a folder by name. No file is read but lists.

    A file of a folder is one source, whatever linked folders lead to it. So is a folder that is not searched.

    Args:
        texts: paths of images, videos, folders and ``.txt`` files with a path or an address on each line; globs;
            addresses; numbers of cameras.
        but: a folder inside of a folder that is left out: that of the outputs.

    Raises:
        InputError: a folder, a glob or a list has no image and no video, or two sources have the same name.
    """
    sources = [source for text in texts for source in _named(str(text), but)]
    times = Counter(source.name for source in sources)
    for source in sources:
        if times[source.name] > 1 and source.path:  # IMG.jpg and IMG.png
            source.name += source.path.suffix
    again = [name for name, number in Counter(source.name for source in sources).items() if number > 1]
    if again:
        first, second = [source for source in sources if source.name == again[0]][:2]
        if first.path and second.path and first.path.absolute() == second.path.absolute():
            raise InputError(f'{first} is given twice; give it once')
        if first.path and second.path:
            raise InputError(f'{first} and {second} have the same name; give the folder above them, or one at a time')
        raise InputError(
            f'outputs of {first} and {second} would have the same name; give one at a time, each with its own --output'
        )
    return sources


def _named(text: str, but: Path | None) -> list[Source]:
    if Path(text).suffix.lower() == LIST and not URL.match(text):
        return [source for line in _lines(Path(text)) for source in _single(line, but)]
    return _single(text, but)


def _single(text: str, but: Path | None) -> list[Source]:
    path = Path(text)
    if not text:
        raise InputError('a source is empty; give an image, a folder, a video, a camera or a stream')
    if URL.match(text):
        video.check_port(text)
        return [Stream(text)]
    check_input(path)
    if path.is_dir():
        return _files(path, EVERYTHING, but, f'folder {text}')
    if not os.path.lexists(path):
        if text.isdecimal() and int(text) <= LAST_CAMERA:
            return [Camera(int(text))]
        if re.fullmatch(r'-\d+', text):
            raise InputError(f'{text} is no number of a camera; give 0 or more')
        if re.match(r'\w\w+://', text):
            raise InputError(
                f'{video.masked(text)}: streams are read from {", ".join(SCHEMES)}; give one of these, or a path'
            )
        if glob.has_magic(text):
            parts = path.parts
            magic = next(index for index, part in enumerate(parts) if glob.has_magic(part))
            return _files(Path(*parts[:magic]), parts[magic:], but, f'glob {text}')
    return [_file(path, path.stem)]


def _files(root: Path, patterns: Sequence[str], but: Path | None, what: str) -> list[Source]:
    """What has the name of an image or a video, named relative to ``root``: what cannot be read is reported then."""
    known = SUFFIXES | video.SUFFIXES
    found: list[Source] = []
    paths, left_out = find_files(root, patterns)
    for path in paths:
        inner = path.relative_to(root)
        hidden = any(part.startswith('.') for part in inner.parts)
        if path.suffix.lower() in known and not hidden and not os.path.isdir(path) and not _is_output(path, root, but):
            found.append(_file(path, inner.with_suffix('').as_posix()))
    if not found and left_out:
        raise InputError(next(iter(left_out.values())))
    if not found:
        raise InputError(f'{what} has no image and no video ({" ".join(sorted(known))}); give another')
    # No file has a name that ends in a slash.
    return [*found, *(LeftOut(path, f'{path.relative_to(root)}/', reason) for path, reason in left_out.items())]


def _is_output(path: Path, root: Path, outputs: Path | None) -> bool:
    """Whether the file lies in the folder of the outputs, unless ``root`` does too."""
    if outputs is None:
        return False
    place, above, file = (Path(os.path.realpath(name)) for name in (outputs, root, path))
    return place in file.parents and place not in (above, *above.parents)


def _file(path: Path, name: str) -> Source:
    return VideoFile(path, name) if path.suffix.lower() in video.SUFFIXES else ImageFile(path, name)


def _lines(path: Path) -> list[str]:
    check_input(path)
    try:
        content = path.read_bytes().removeprefix(BOM_UTF8)
        lines = [line for line in map(os.fsdecode, content.splitlines()) if line.strip()]
        lines = [line if os.path.lexists(line) else line.strip() for line in lines]
    except OSError as error:
        raise InputError(f'list {path} cannot be read ({error.strerror}); give a file with a path a line') from error
    if b'\0' in content or content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise InputError(f'list {path} is no text in UTF-8; save it as UTF-8, with a path on each line')
    if not lines:
        raise InputError(f'list {path} is empty; write a path on each line')
    return lines
