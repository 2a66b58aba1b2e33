"""The labels of one image, and what is made of them: shares, pictures, polygons, files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mmseg_bisenet.errors import InputError, require_paths, short
from mmseg_bisenet.files import check_output, identities, replacing
from mmseg_bisenet.palette import fault_of_names, paint

BLEND = 0.6  # share of the colours in an overlay; the rest is the image
# What a file of one result shows, and the endings that keep it.
KINDS = dict(overlay=('.jpg', '.jpeg', '.png'), mask=('.png',), labels=('.png',), geojson=('.geojson', '.json'))


@dataclass
class Result:
    """The labels of one image.

    Args:
        image: (H, W, 3) uint8, BGR, upright. An array that was given is not copied: :meth:`overlay` and :meth:`save`
            show what it holds when they are called.
        labels: (H, W) uint8, class indices.
        classes: names of the classes.
        palette: their colours, RGB.
        name: of the image, or of the video and the frame's number.
        time: seconds since the start of the video; None for an image.
        times: milliseconds by stage: ``decode``, ``network``, ``labels`` (resizing and argmax).
        path: of the image's or the video's file, which :meth:`save` never replaces; it becomes absolute.
    """

    image: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    palette: Sequence[Sequence[int]]
    name: str = 'image'
    time: float | None = None
    times: dict[str, float] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        """Raises:
        InputError: a field is of another type, shape or size, or a label has no class.
        """
        image, palette = self.image, self.palette
        if not _is_bytes(image, 3) or image.shape[2] != 3:
            raise InputError(f'image={_described(image)}: give an array (H, W, 3) of uint8')
        if not isinstance(self.classes, list | tuple) or not all(isinstance(name, str) for name in self.classes):
            raise InputError(f'classes={_described(self.classes)}: give the names of the classes')
        self._check_labels()
        if not isinstance(palette, list | tuple | np.ndarray) or len(palette) != len(self.classes):
            raise InputError(f'palette={_described(palette)}: give three numbers for each class')
        if fault := fault_of_names(dict(classes=self.classes, palette=palette)):
            raise InputError(f'classes={_described(self.classes)} and palette={_described(palette)}: it {fault}')
        if self.time is not None and not _is_number(self.time):
            raise InputError(f'time={_described(self.time)}: give seconds, or None')
        if not isinstance(self.times, dict) or not all(map(_is_number, self.times.values())):
            raise InputError(f'times={_described(self.times)}: give milliseconds by stage')
        if not isinstance(self.name, str):
            raise InputError(f'name={_described(self.name)}: give a text')
        if self.path is not None:
            require_paths(path=self.path)
            self.path = Path(self.path).absolute()  # a relative path is another file once the current folder changes

    def _check_labels(self) -> None:
        """Labels may be edited, so what is made of them checks them again.

        Raises:
            InputError: they are of another type, shape or size, or a label has no class.
        """
        labels = self.labels
        if not _is_bytes(labels, 2) or labels.shape != self.image.shape[:2]:
            raise InputError(f'labels={_described(labels)}: give an array (H, W) of uint8, of the size of the image')
        if labels.max() >= len(self.classes):
            raise InputError(f'labels have class {labels.max()}, and there are {len(self.classes)}; name them all')

    def share(self) -> dict[str, float]:
        """The share of the pixels of each class, 0 to 1; together they are 1."""
        self._check_labels()
        counts = cv2.calcHist([self.labels], [0], None, [256], [0, 256]).ravel()
        return {name: float(count) / self.labels.size for name, count in zip(self.classes, counts, strict=False)}

    def mask(self) -> np.ndarray:
        """The colours of the classes, (H, W, 3) uint8, BGR."""
        self._check_labels()
        return paint(self.labels, [colour[::-1] for colour in self.palette])

    def overlay(self) -> np.ndarray:
        """The image blended with the colours of the classes, (H, W, 3) uint8, BGR."""
        return cv2.addWeighted(self.mask(), BLEND, self.image, 1 - BLEND, 0)

    def polygons(self) -> list[tuple[str, list[np.ndarray]]]:
        """Each connected region as the name of its class and its rings: the outline, then the holes.

        A ring is (N, 2) int32, x and y of the centres of its corner pixels, which belong to the region.
        ``cv2.fillPoly`` of the rings gives the region back.
        """
        self._check_labels()
        found = []
        for index in np.flatnonzero(np.bincount(self.labels.ravel(), minlength=256)):
            region = (self.labels == index).astype(np.uint8)
            contours, hierarchy = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
            rings = {
                outline: [contours[outline]] for outline, (_, _, _, parent) in enumerate(hierarchy[0]) if parent < 0
            }
            for hole, (_, _, _, parent) in enumerate(hierarchy[0]):
                if parent >= 0:
                    rings[parent].append(contours[hole])
            found += [(self.classes[index], [ring[:, 0] for ring in region]) for region in rings.values()]
        return found

    def geojson(self) -> dict:
        """The polygons as a FeatureCollection (RFC 7946), with coordinates in pixels: x to the right, y down."""
        features = [
            dict(
                type='Feature',
                properties=dict(name=name, id=self.classes.index(name)),
                geometry=dict(type='Polygon', coordinates=[_closed(ring) for ring in rings]),
            )
            for name, rings in self.polygons()
        ]
        return dict(type='FeatureCollection', features=features)

    def save(self, path: str | Path, kind: str = 'overlay', overwrite: bool = False) -> None:
        """Write a file.

        Args:
            path: ends in ``.jpg`` or ``.png`` for an overlay, ``.png`` for a mask or labels, ``.geojson``.
            kind: ``overlay``, ``mask`` (colours), ``labels`` (class indices, one channel) or ``geojson``.
            overwrite: whether it may replace a file.

        Raises:
            InputError: no path, another kind or ending, the image's own file or another of that name, or it cannot be
                written.
        """
        require_paths(path=path)
        path = Path(path)
        _require_kind(kind)
        if path.suffix.lower() not in KINDS[kind]:
            raise InputError(f'{path}: a file of kind {kind} ends in {" or ".join(KINDS[kind])}; rename it')
        check_output(path, overwrite, inputs=identities([self.path] if self.path else []))
        content = self.encoded(kind, path.suffix)
        with replacing(path, overwrite) as partial:
            partial.write_bytes(content)

    def encoded(self, kind: str, suffix: str, picture: np.ndarray | None = None) -> bytes:
        """The content of a file of that kind; ``picture`` if it is drawn already.

        Raises:
            InputError: another kind or ending, or labels that cannot be.
        """
        _require_kind(kind)
        self._check_labels()
        if not isinstance(suffix, str) or suffix.lower() not in KINDS[kind]:
            raise InputError(f'suffix {short(repr(suffix))} is not known; choose one of {", ".join(KINDS[kind])}')
        if kind == 'geojson':
            return json.dumps(self.geojson()).encode()
        if picture is None:
            picture = self.labels if kind == 'labels' else getattr(self, kind)()
        return cv2.imencode(suffix, picture)[1].tobytes()


def _require_kind(kind: object) -> None:
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f'kind {short(repr(kind))} is not known; choose one of {", ".join(KINDS)}')


def _is_bytes(value: object, dimensions: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == dimensions and value.size > 0


def _is_number(value: object) -> bool:
    """Whether it is a finite number, of NumPy too."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(np.isfinite(value))


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f'{value.dtype} {value.shape}'
    return short(repr(value))


def _closed(ring: np.ndarray) -> list[list[int]]:
    """The ring with its first corner again at the end; at least four positions, as GeoJSON asks."""
    corners = ring.tolist()
    return [*corners, *corners[:1] * max(1, 4 - len(corners))]
