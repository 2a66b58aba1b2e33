"""How large the values of a network become, measured on images in float32; and the file that keeps it."""

import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_bisenet.deploy.int8.steps import Plan, shape_of
from mmseg_bisenet.errors import InputError, require_paths
from mmseg_bisenet.files import check_input, write_text
from mmseg_bisenet.models.inference.fold import CONSTANT

FORMAT_VERSION = 1
QUANTILE = 0.99999  # of the absolute values; larger ones are clipped to it
SAMPLE = 2**18  # values of a map that it is computed from


@dataclass(frozen=True)
class Ranges:
    """The largest absolute value of each node of a plan, by its name; ``weights``: what they were measured with."""

    largest: dict[str, float]
    weights: str

    def save(self, path: str | Path) -> None:
        """Write a file for the ``calibration`` of :func:`mmseg_bisenet.deploy.load`.

        Raises:
            InputError: no path, a file of that name, or it cannot be written.
        """
        require_paths(path=path)
        content = dict(format_version=FORMAT_VERSION, weights=self.weights, largest=self.largest)
        write_text(Path(path), json.dumps(content | dict(checksum=_checksum(content))))

    @classmethod
    def load(cls, path: str | Path) -> 'Ranges':
        """Raises:
        InputError: no such file, a damaged one, or another one.
        """
        check_input(path)
        if not Path(path).exists():
            raise InputError(f'calibration file {path} does not exist; give one that segment.engine.ranges.save wrote')
        try:
            content = json.loads(Path(path).read_bytes())
            recorded = content.pop('checksum')
            largest, weights = content['largest'], content['weights']
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f'calibration file {path} cannot be read as ranges of int8; give one that segment.engine.ranges.save '
                'wrote, or images'
            ) from error
        if content.get('format_version') != FORMAT_VERSION or recorded != _checksum(content):
            raise InputError(
                f'calibration file {path} is damaged, was edited, or is of another version; calibrate with images, '
                'and save the ranges again'
            )
        for name, value in largest.items():
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise InputError(f'calibration file {path}: {name} is {value}; calibrate with images again')
        return cls(largest, weights)

    def require(self, plan: Plan, path: str | Path) -> 'Ranges':
        """These, if they are of that plan's network.

        Raises:
            InputError: they were measured on other weights, or where other values are stored in bytes: by another
            version, or at a shape whose maps shrink to a pixel.
        """
        if self.weights != checksum(plan):
            raise InputError(
                f'calibration file {path} has the ranges of other weights; calibrate these with images, and save the '
                'ranges again'
            )
        if others := {node.name for node in plan.stored} ^ set(self.largest):
            size = 'x'.join(map(str, shape_of(plan.image)[2:]))
            raise InputError(
                f'calibration file {path} is not for shape {size}, or is of another version: the range of '
                f'{min(others)} is missing or superfluous; calibrate with images of {size}, and save the ranges again'
            )
        return self


def _checksum(content: dict) -> str:
    return f'{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}'


def checksum(plan: Plan) -> str:
    """Of the layers of a plan and their weights, whatever the size of its images."""
    nodes = plan.image.graph.nodes
    value = zlib.crc32(' '.join(f'{node.name} {node.target}' for node in nodes).encode())
    for tensor in plan.constants.values():
        value = zlib.crc32(tensor.contiguous().numpy().tobytes(), value)
    return f'{value:08x}'


@torch.inference_mode()
def measure(plan: Plan, images: Iterable[np.ndarray]) -> Ranges:
    """The ranges over images (H, W, 3) uint8, BGR, of the plan's shape."""
    largest = {node.name: 0.0 for node in plan.stored}
    last = {value: node for node in plan.image.graph.nodes for value in node.all_input_nodes}
    for image in images:
        pixels = F.pad(torch.from_numpy(image), (0, 1), value=CONSTANT).permute(2, 0, 1)[None]
        values = dict(plan.constants)
        values[plan.image] = pixels.float().contiguous(memory_format=torch.channels_last)
        for node in plan.image.graph.nodes:
            if node.op != 'call_function':
                continue
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
            if node.name in largest:
                largest[node.name] = max(largest[node.name], _quantile(values[node]))
            for value in node.all_input_nodes:
                if last[value] is node:
                    values.pop(value)
    return Ranges(largest, checksum(plan))


def _quantile(x: Tensor) -> float:
    values = x.abs().flatten()
    values = values[:: len(values) // SAMPLE // 6 * 6 + 1]  # no multiple of a number of channels
    return float(values.kthvalue(max(1, int(len(values) * QUANTILE))).values)
