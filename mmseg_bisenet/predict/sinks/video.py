"""A video for each video, camera and stream, by PyAV: OpenCV's wheels write no H.264."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sinks.base import Folder, Sink
from mmseg_bisenet.predict.sources import Source
from mmseg_bisenet.predict.video import require_av

TICK = Fraction(1, 90_000)  # seconds; the frame rates of film and television are near enough to multiples
# Quality 23 is x264's default. The fastest preset leaves the cores to the network; its files are larger.
BT601 = 6  # FFmpeg's number of the matrix from RGB to YUV that it converts with
MP4 = dict(movflags='+faststart')  # the index comes first, so that a browser plays before it has the whole file
X264 = dict(preset='ultrafast', crf='23')


class Video(Sink):
    """The overlay of each video, camera and stream, as H.264 in MP4 (yuv420p), with the times of the frames.

    An odd side is extended by one pixel, because yuv420p has none. A frame of another size than the first is resized.
    Pixels that are not square stay so: the file says their shape, and players stretch them as those of the source.
    """

    draws, moving = 'overlay', True

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._av = require_av()
        self._source: Source | None = None

    def names(self, sources: Sequence[Source]) -> list[str]:
        return list(map(self.place, sources))

    def place(self, source: Source) -> str:
        return f'{source.name}.mp4'

    def write(self, result: Result, source: Source, picture: Any) -> None:
        if source is not self._source:
            self._open.close()
            self._source = source
            encoder = self._encoder(self.place(source), picture.shape[:2], source.pixel_aspect)
            self._add = self._open.enter_context(encoder)
        self._add(picture, result.time or 0)

    @contextmanager
    def _encoder(
        self, name: str, size: tuple[int, ...], aspect: Fraction
    ) -> Iterator[Callable[[np.ndarray, float], None]]:
        """An open file: a function that adds a picture at a time in seconds."""
        bottom, right = (side % 2 for side in size)
        last = -1

        def add(picture: np.ndarray, seconds: float) -> None:
            nonlocal last
            if picture.shape[:2] != size:
                picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
            picture = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
            frame = self._av.VideoFrame.from_ndarray(picture, format='bgr24')
            last = max(round(seconds / TICK), last + 1)  # two frames of a camera may have the same time
            frame.pts, frame.time_base = last, TICK
            container.mux(stream.encode(frame))

        with self.folder.replacing(name) as partial:
            # Absolute, because FFmpeg takes what ends in a colon for a protocol.
            with self._av.open(str(partial.absolute()), 'w', format='mp4', options=MP4) as container:
                stream = container.add_stream('libx264', options=X264)
                stream.height, stream.width = size[0] + bottom, size[1] + right
                stream.pix_fmt, stream.codec_context.time_base = 'yuv420p', TICK
                stream.codec_context.sample_aspect_ratio = aspect
                stream.codec_context.colorspace = BT601  # players would take another for large videos
                yield add
                container.mux(stream.encode())
