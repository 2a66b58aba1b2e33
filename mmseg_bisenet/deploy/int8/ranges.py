"""The ranges of the values of a network, measured on images in float32."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_bisenet.deploy.int8.engine import _byte_values
from mmseg_bisenet.deploy.int8.plan import Plan

QUANTILE = 0.99999
from mmseg_bisenet.models.inference.fold import CONSTANT


@torch.inference_mode()
def measure(plan: Plan, images: Iterable[np.ndarray], quantile: float = QUANTILE) -> dict:
    stored = _byte_values(plan)
    found: dict = {}
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
                    found[node.name] = max(found.get(node.name, 0.0), _largest(value, quantile))
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
