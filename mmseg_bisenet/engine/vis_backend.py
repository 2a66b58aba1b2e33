"""MMEngine's ``LocalVisBackend``, for folders and images with names of any bytes.

Stock writes pictures with ``cv2.imwrite``, which takes UTF-8 names only, and in OpenCV 5.0 ends the process for others.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.visualization import LocalVisBackend
from mmengine.visualization.vis_backend import force_init_env

from mmseg_bisenet.files import write_text
from mmseg_bisenet.pixels import write_pixels


class AnyNameVisBackend(LocalVisBackend):
    """The stock backend with the stock arguments and files. If the disk is full, its error names the config.

    The config is written with the first result, so that a run that fails before, or there, leaves no folder.
    """

    _config = ''

    def _init_env(self) -> None:
        folder = Path(self._save_dir)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            super()._init_env()
            if self._config:
                write_text(self._config_save_file, self._config, overwrite=True)
        except Exception:  # a full disk
            for path in made:
                with suppress(OSError):  # it holds something
                    path.rmdir()
            raise

    def add_config(self, config: Config, **kwargs: Any) -> None:
        self._config = config.pretty_text

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write ``NAME_STEP.png``; image: (H, W, 3) uint8, RGB."""
        path = Path(self._img_save_dir, f'{name}_{step}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pixels(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
