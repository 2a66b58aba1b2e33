"""One JSON file for the run."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmseg_bisenet import install
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sinks.base import Folder, Sink
from mmseg_bisenet.predict.sources import Source


class Listing(Sink):
    """A JSON file of the run, written as results come."""

    name: str
    key: str  # of the entries

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._add: Callable[[dict], None] | None = None

    def names(self, sources: Sequence[Source]) -> list[str]:
        return [self.name]

    def head(self, result: Result) -> dict:
        """What comes before the entries."""
        raise NotImplementedError

    def entries(self, result: Result) -> list[dict]:
        """What a result adds."""
        raise NotImplementedError

    def tail(self) -> dict:
        """What comes after the entries."""
        raise NotImplementedError

    def write(self, result: Result, source: Source, picture: Any) -> None:
        if self._add is None:
            self._add = self._open.enter_context(self._listing(self.head(result)))
        for entry in self.entries(result):
            self._add(entry)

    @contextmanager
    def _listing(self, head: dict) -> Iterator[Callable[[dict], None]]:
        """An open file: a function that adds an entry."""
        separator = '\n'

        def add(entry: dict) -> None:
            nonlocal separator
            file.write(f'{separator}{json.dumps(entry)}')
            separator = ',\n'

        with self.folder.replacing(self.name) as partial, partial.open('w', encoding='utf-8') as file:
            file.write(f'{json.dumps(head)[:-1]}, "{self.key}": [')
            yield add
            file.write(f'\n], {json.dumps(self.tail())[1:]}\n')


class JSON(Listing):
    """Shares of the classes and times of the stages, for each frame."""

    name, key = 'predictions.json', 'frames'

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._count = 0

    def head(self, result: Result) -> dict:
        return dict(classes=result.classes)

    def entries(self, result: Result) -> list[dict]:
        self._count += 1
        height, width = result.labels.shape
        times = {stage: round(spent, 3) for stage, spent in result.times.items()}
        return [dict(name=result.name, height=height, width=width, time=result.time, share=result.share(), ms=times)]

    def tail(self) -> dict:
        return dict(count=self._count)


class COCO(Listing):
    """One annotation for each class of each frame, with its pixels as run lengths; ``category_id`` is the label."""

    name, key = 'coco.json', 'annotations'

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        try:
            from pycocotools import mask
        except ModuleNotFoundError as error:
            raise InputError(f'--save coco needs pycocotools; run: {install.command("predict")}') from error
        self._lengths: Any = mask
        self._images: list[dict] = []
        self._count = 0

    def head(self, result: Result) -> dict:
        return dict(categories=[dict(id=index, name=name) for index, name in enumerate(result.classes)])

    def entries(self, result: Result) -> list[dict]:
        height, width = result.labels.shape
        suffix = result.path.suffix if result.path and result.time is None else ''  # a frame is no file
        file_name = result.name + suffix
        self._images.append(dict(id=len(self._images) + 1, file_name=file_name, height=height, width=width))
        return [self._annotation(result.labels == label, label) for label in np.unique(result.labels).tolist()]

    def tail(self) -> dict:
        return dict(images=self._images)

    def _annotation(self, region: np.ndarray, label: int) -> dict:
        self._count += 1
        lengths = self._lengths.encode(np.asfortranarray(region, np.uint8))
        return dict(
            id=self._count,
            image_id=len(self._images),
            category_id=label,
            segmentation=dict(size=lengths['size'], counts=lengths['counts'].decode()),
            area=int(self._lengths.area(lengths)),
            bbox=self._lengths.toBbox(lengths).tolist(),
            iscrowd=0,
        )
