"""Frames of videos and streams, by PyAV, and of cameras, by OpenCV.

Each generator yields ``(image, seconds)``: (H, W, 3) uint8 BGR, upright, and the time since the video's start.
"""

import errno
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmseg_bisenet import install
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.predict import containers
from mmseg_bisenet.sizes import check_size

SUFFIXES = {'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ts', '.webm', '.wmv'}
RECONNECTS = 5  # attempts in a row, with waits of 1, 2, 4, 8 and 16 seconds
LAST_PORT = 65535
TIMEOUT = 10.0  # seconds to connect, and to wait for data
FIXED = 2**16  # 1 in a display matrix
FPS = 25  # of a video that states no frame rate

Timed = tuple[np.ndarray, float]


def masked(url: str) -> str:
    """The address without its password, for messages."""
    return re.sub('://([^/:]*):[^/]*@', r'://\1:***@', url)


def check_port(url: str) -> None:
    """Raises:
    InputError: it has a port that no address has.
    """
    port = re.match(r'\w+://([^/?]*@)?(\[[^]/]*\]|[^:/?]*):(\d+)(?![^/?])', url)
    if port and int(port[3]) > LAST_PORT:
        raise InputError(f'{masked(url)} has port {port[3]}; give one of at most {LAST_PORT}')


def require_av() -> Any:
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise InputError(f'videos and streams need av; run: {install.command("predict")}') from error
    return av


def video_frames(path: Path) -> Iterator[Timed]:
    """Raises:
    InputError: the file is missing, damaged, too large, or has no frames.
    """
    where = ''
    try:
        with opened(path) as container:
            for number, frame in enumerate(_decoded(container, str(path)), 1):
                yield frame
                where = f' after frame {number}'
    except (require_av().FFmpegError, OSError, InputError) as error:
        if containers.is_cut_off(path):
            raise InputError(f'{path} is cut off{where}; copy it again') from error
        if isinstance(error, InputError):
            raise
        raise InputError(f'{path} cannot be read as a video{where} ({_reason(error)}); replace the file') from error
    if containers.is_cut_off(path):
        raise InputError(f'{path} is cut off{where}; copy it again')
    if not where:
        raise InputError(f'{path} has no frames; replace the file')


def frame_count(path: Path) -> int | None:
    """The number of frames that the header states; None if it states none, or cannot be read."""
    try:
        with opened(path) as container:
            return container.streams.video[0].frames or None
    except (InputError, require_av().FFmpegError, OSError, IndexError):
        return None


def pixel_aspect(path: Path) -> Fraction:
    """Width of a pixel by its height, of upright frames; 1 if the file does not say, or cannot be read."""
    try:
        with opened(path) as container:
            aspect = shape_of_pixels(container)
            if aspect != 1:
                frame = next(container.decode(video=0))
                rows = len(_upright(np.zeros((1, 2, 3), np.uint8), frame, str(path)))
                return aspect if rows == 1 else 1 / aspect  # turned by a quarter
    except (InputError, require_av().FFmpegError, OSError, StopIteration):
        pass
    return Fraction(1)


def shape_of_pixels(container: Any) -> Fraction:
    """Width of a pixel by its height, as the first video of an open file or stream says."""
    videos = container.streams.video
    return Fraction(getattr(videos[0], 'sample_aspect_ratio', None) or 1) if videos else Fraction(1)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file as PyAV's container. Python opens it: its name may be any bytes, and is never taken for an address.

    FFmpeg opens no other file or address, which a playlist called ``.mp4`` could name.
    """
    av = require_av()
    check_input(path)
    if not path.exists():
        raise InputError(f'{path} does not exist; give an image, a folder, a video, a camera or a stream')
    if kind := containers.kind_of_image(path):
        raise InputError(f'{path} is an image ({kind}) with the name of a video; rename it')
    with path.open('rb') as file, av.open(file, options=dict(protocol_whitelist='none')) as container:
        yield container


def connect(url: str) -> Any:
    """A stream as PyAV's container.

    Raises:
        InputError: nothing answers, or what answers is no video.
    """
    av, name = require_av(), masked(url)
    options = {'rtsp_transport': 'tcp'} if url.startswith('rtsp') else {}
    try:
        return av.open(url, options=options, timeout=TIMEOUT)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f'stream {name} cannot be opened ({_reason(error)}); check the address') from error


def stream_frames(url: str, container: Any, live: bool) -> Iterator[Timed]:
    """Frames of an open stream. A live stream that fails is opened again, at most ``RECONNECTS`` times without two
    frames between. So is one that ends, as when its server is restarted, but for HTTP: files that state no length end,
    and some formats say EIO there.

    Times of a live stream are those of arrival.

    Raises:
        InputError: the stream failed, and, if it is live, all attempts to open it again.
    """
    start, attempts, number = time.monotonic(), 0, 0
    name = f'stream {masked(url)}'
    while True:
        try:
            with closing(container):
                for of_this, (image, seconds) in enumerate(_decoded(container, name, whole=not live), 1):
                    number += 1
                    attempts = attempts if of_this < 2 else 0  # some servers give one frame, and close
                    yield image, time.monotonic() - start if live else seconds
            if not number:
                raise InputError(f'{name} has no frames; check the address')
            if not live or url.startswith('http'):
                return
            reason = 'it ended'
        except (require_av().FFmpegError, OSError) as error:
            reason = _reason(error)
            if live and number and url.startswith('http') and getattr(error, 'errno', None) == errno.EIO:
                return
            if not live:
                raise InputError(f'{name} failed after frame {number} ({reason}); try again') from error
        container, attempts = _connect_again(url, attempts, reason)


def _connect_again(url: str, attempts: int, reason: str) -> tuple[Any, int]:
    while attempts < RECONNECTS:
        time.sleep(2**attempts)
        attempts += 1
        try:
            return connect(url), attempts
        except InputError:
            continue
    raise InputError(f'stream {masked(url)} failed ({reason}), and {RECONNECTS} attempts to reconnect; try again later')


def camera_frames(number: int) -> Iterator[Timed]:
    """Raises:
    InputError: the camera is not there, or stops.
    """
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it would say on stderr how each backend failed
    capture = cv2.VideoCapture(number)
    logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise InputError(f'camera {number} cannot be opened; connect it, or end the program that uses it')
        start = time.monotonic()
        while True:
            good, image = capture.read()
            if not good:
                raise InputError(f'camera {number} gives no images; connect it again')
            yield image, time.monotonic() - start
    finally:
        capture.release()


def _decoded(container: Any, name: str, whole: bool = True) -> Iterator[Timed]:
    """Frames. ``whole``: damaged ones are refused, because FFmpeg conceals the damage, and those of another size.

    Times go on where they would jump back, as in files that were appended to each other.
    """
    if not container.streams.video:
        raise InputError(f'{name} has no video; give another')
    stream = container.streams.video[0]
    if not getattr(stream, 'width', 0):  # PyAV knows no codec
        raise InputError(f'{name} has no video that is readable; replace it')
    check_size(name, stream.width, stream.height)
    stream.thread_type = 'AUTO'
    rate = float(stream.average_rate or FPS)
    offset, last, size = 0.0, None, (stream.width, stream.height)
    for number, frame in enumerate(container.decode(stream)):
        if frame.is_corrupt and whole:  # frames that depend on it are not marked
            raise InputError(f'{name} is damaged after frame {number}; replace the file')
        check_size(name, frame.width, frame.height)  # it may change midway
        if whole and size != (frame.width, frame.height) and number:
            before, after = (f'{width}x{height}' for width, height in (size, (frame.width, frame.height)))
            raise InputError(f'{name} changes from {before} to {after} after frame {number}; save it in one size')
        size = frame.width, frame.height
        image = frame.to_ndarray(format='bgr24')
        image = _upright(image, frame, name)
        seconds = number / rate if frame.time is None else frame.time
        if last is None:
            offset = -seconds
        elif seconds + offset < last:
            offset = last + 1 / rate - seconds
        last = seconds + offset
        yield image, last


def _upright(image: np.ndarray, frame: Any, name: str) -> np.ndarray:
    """The image as the display matrix of its frame says: turned by quarters, or mirrored.

    The matrix has nine integers in rows: column and row of a pixel, times the first two rows, are its place.
    """
    for data in frame.side_data:
        if data.type.name != 'DISPLAYMATRIX':
            continue
        matrix = np.frombuffer(data, '<i4')[:5] / FIXED
        right_to_right, right_to_down, _, down_to_right, down_to_down = np.sign(matrix.round(2))
        if right_to_right * down_to_down and not right_to_down and not down_to_right:
            image = image[:: int(down_to_down), :: int(right_to_right)]
        elif right_to_down * down_to_right and not right_to_right and not down_to_down:
            image = image.transpose(1, 0, 2)[:: int(right_to_down), :: int(down_to_right)]
        else:
            raise InputError(f'{name} is turned by no multiple of 90 degrees; turn its frames, and save it again')
    return np.ascontiguousarray(image)


def _reason(error: Exception) -> str:
    if isinstance(error, require_av().error.ExitError):  # PyAV's own clock ends the call
        return f'no answer within {TIMEOUT:.0f} s'
    return str(getattr(error, 'strerror', None) or error or type(error).__name__)
