"""A window, by OpenCV."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import cv2

from mmseg_bisenet.display import require_window
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sinks.base import Folder, Sink
from mmseg_bisenet.predict.sources import Source

OPENS = """
import cv2
try:
    cv2.namedWindow('mmseg-bisenet', cv2.WINDOW_NORMAL)
except cv2.error as error:
    headless = 'not implemented' in error.err
    sys.exit('this OpenCV is headless: install opencv-python instead' if headless else error.err)
"""


class Window(Sink):
    """Shows the overlay; the key q or Esc, or closing the window, calls ``stop``."""

    draws = 'overlay'
    title = 'mmseg-bisenet predict'

    def __init__(self, folder: Folder, stop: Callable[[], None]) -> None:
        super().__init__(folder)
        displays = ('DISPLAY', 'WAYLAND_DISPLAY')
        if sys.platform.startswith('linux') and not any(map(os.environ.get, displays)):
            raise InputError(f'--show needs a display, and neither {" nor ".join(displays)} is set; use --save')
        require_window(OPENS, 'use --save')
        cv2.namedWindow(self.title, cv2.WINDOW_NORMAL)
        self._open.callback(cv2.destroyAllWindows)
        self._stop = stop

    def names(self, sources: Sequence[Source]) -> list[str]:
        return []

    def write(self, result: Result, source: Source, picture: Any) -> None:
        cv2.imshow(self.title, picture)
        if cv2.waitKey(1) & 0xFF in (ord('q'), 27) or cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            self._stop()
