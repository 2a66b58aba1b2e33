"""The ranges of the values of a network, measured on images in float32."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_bisenet.deploy.int8 import packing
from mmseg_bisenet.deploy.int8.engine import _byte_values
from mmseg_bisenet.deploy.int8.plan import Plan

QUANTILE = 0.9995
SAMPLE = 2**13
from mmseg_bisenet.models.inference.fold import CONSTANT


@torch.inference_mode()
def measure(plan: Plan, images: Iterable[np.ndarray], quantile: float = QUANTILE, whole: float = 0.99999) -> dict:
    stored = _byte_values(plan)
    found: dict = {}
    sources = {step.source for step in plan.convolutions() if step.weight.shape[-1] == 3 and step.stride == 1 and step.groups == 1}
    graph = plan.image.graph
    last = {}
    for node in graph.nodes:
        for value in node.all_input_nodes:
            last[value] = node
    for image in images:
        values = {}
        for node in graph.nodes:
            if node.op == 'placeholder':
                if node in plan.constants:
                    values[node] = plan.constants[node]
                else:
                    x = F.pad(torch.from_numpy(image), (0, 1), value=CONSTANT).permute(2, 0, 1)[None].float()
                    values[node] = x.contiguous(memory_format=torch.channels_last)
            elif node.op == 'call_function':
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
                value = values[node] = node.target(*args, **kwargs)
                if node in stored:
                    entry = found.setdefault(node.name, dict(largest=0.0))
                    entry['largest'] = max(entry['largest'], _largest(value, whole))
                    if node in sources:
                        t = _transformed(value, quantile)
                        entry['transformed'] = np.maximum(entry.get('transformed', 0), t)
                for value in node.all_input_nodes:
                    if last[value] is node and value not in plan.constants:
                        del values[value]
    return found


def _largest(x: Tensor, quantile: float) -> float:
    values = x.abs().flatten()
    k = max(1, int(len(values) * quantile))
    if k >= len(values):
        return float(values.max())
    return float(values.kthvalue(k).values)


def _transformed(x: Tensor, quantile: float) -> np.ndarray:
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1 + -width % 4, 1, 1 + -height % 4))
    patches = padded.unfold(2, 6, 4).unfold(3, 6, 4).movedim(1, 3).flatten(0, 3)
    patches = patches[:: -(-len(patches) // SAMPLE)].flatten(1)
    transform = torch.from_numpy(np.kron(packing.INPUT, packing.INPUT)).float()
    return (patches @ transform.T).abs().quantile(quantile, dim=0).numpy()
