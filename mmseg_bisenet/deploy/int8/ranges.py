"""How large the values of a network become, measured on images in float32."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_bisenet.deploy.int8.steps import Plan
from mmseg_bisenet.deploy.int8.trace import Traced
from mmseg_bisenet.models.inference.fold import CONSTANT

QUANTILE = 0.99999  # of the absolute values; larger ones are clipped to it
SAMPLE = 2**18  # values of a map that it is computed from


@torch.inference_mode()
def measure(traced: Traced, plan: Plan, images: Iterable[np.ndarray]) -> None:
    """Set ``largest`` of the plan's values, from images (H, W, 3) uint8, BGR, of its shape."""
    stored = set(plan.stored)
    last = {value: node for node in traced.graph.nodes for value in node.all_input_nodes}
    for image in images:
        pixels = F.pad(torch.from_numpy(image), (0, 1), value=CONSTANT).permute(2, 0, 1)[None]
        values = dict(traced.constants)
        values[traced.image] = pixels.float().contiguous(memory_format=torch.channels_last)
        for node in traced.graph.nodes:
            if node.op != 'call_function':
                continue
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
            if node.name in stored:
                value = plan.values[node.name]
                value.largest = max(value.largest, _quantile(values[node]))
            for value in node.all_input_nodes:
                if last[value] is node:
                    values.pop(value)


def _quantile(x: Tensor) -> float:
    values = x.abs().flatten()
    values = values[:: len(values) // SAMPLE // 6 * 6 + 1]  # no multiple of a number of channels
    return float(values.kthvalue(max(1, int(len(values) * QUANTILE))).values)
