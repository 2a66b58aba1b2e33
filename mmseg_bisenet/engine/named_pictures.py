"""A picture for each image. Stock names pictures by the files alone, so images of one name overwrite each other's."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.visualization import Visualizer
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.structures import SegDataSample


class PictureNames:
    """Names of pictures, which stay the same as long as this object does."""

    def __init__(self) -> None:
        self._names, self._taken = dict[str, str](), set[str]()

    def name(self, path: str, wanted: str) -> str:
        """``wanted`` for the first image that asks for it, with folders in front for others: ``city_street.png``.

        Args:
            path: of the image.
            wanted: the file's name, or a part of it.
        """
        if path not in self._names:
            name, folders = wanted, list(Path(path).absolute().parts[1:-1])
            while name in self._taken:
                name = f'{folders.pop() if folders else ""}_{name}'
            self._taken.add(name)
            self._names[path] = name
        return self._names[path]


class _Named:
    """The part of a visualizer that the hook uses."""

    def __init__(self, visualizer: Visualizer) -> None:
        self._visualizer, self._names = visualizer, PictureNames()

    def add_datasample(self, name: str, image: np.ndarray, data_sample: SegDataSample, **options: Any) -> None:
        wanted = Path(data_sample.img_path).name
        kind = name.removesuffix(wanted)  # `val_` or `test_`
        name = kind + self._names.name(data_sample.img_path, wanted)
        self._visualizer.add_datasample(name, image, data_sample, **options)


class NamedVisualizationHook(SegVisualizationHook):
    """The stock hook, of which each image keeps its picture."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._visualizer: Any = _Named(Visualizer.get_current_instance())
