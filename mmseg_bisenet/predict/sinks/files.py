"""A file for each image, or for each frame."""

from collections.abc import Sequence
from typing import Any

from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sinks.base import Sink
from mmseg_bisenet.predict.sources import Source


class Files(Sink):
    """``NAME`` and an ending; ``NAME/000001`` and an ending for the first frame of a video."""

    kind: str
    ending: str

    def names(self, sources: Sequence[Source]) -> list[str]:
        return [source.name + ('/000001' if source.moving else '') + self.ending for source in sources]

    def place(self, source: Source) -> str:
        return source.name if source.moving else source.name + self.ending

    def write(self, result: Result, source: Source, picture: Any) -> None:
        content = result.encoded(self.kind, f'.{self.ending.rpartition(".")[2]}', picture)
        with self.folder.replacing(result.name + self.ending) as partial:
            partial.write_bytes(content)


class Overlay(Files):
    """The image blended with the colours of the classes, as JPEG."""

    kind, ending, draws = 'overlay', '.jpg', 'overlay'


class Mask(Files):
    """The colours of the classes, as PNG."""

    kind, ending, draws = 'mask', '_mask.png', 'mask'


class Labels(Files):
    """Class indices, as PNG of one channel."""

    kind, ending = 'labels', '_labels.png'


class GeoJSON(Files):
    """Polygons of the regions, in pixels."""

    kind, ending = 'geojson', '.geojson'
