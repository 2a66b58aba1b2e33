"""A plan as a file of safetensors: its arrays, and the rest as one text.

Weights are in float32, folded and not quantized. Those that the kernels read would take 0.9 times the room, because
Winograd's have 36 values instead of nine, and would tie the file to one version of the kernels.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_bisenet.deploy.int8 import shapes
from mmseg_bisenet.deploy.int8.steps import (
    Bilinear,
    Convolution,
    Gate,
    Linear,
    Mean,
    Nearest,
    Plan,
    Pool,
    Scaled,
    Value,
)

VERSION = 1  # of the steps and what they mean
KINDS = {kind.__name__: kind for kind in (Convolution, Pool, Nearest, Bilinear, Gate, Mean, Linear, Scaled)}
PLAN = 'plan'


def write(path: Path, plan: Plan, metadata: dict[str, str]) -> None:
    """Write a plan with texts of the caller."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    steps = []
    for i, step in enumerate(plan.steps):
        arrays = {name: value for name, value in vars(step).items() if isinstance(value, np.ndarray)}
        tensors |= {f'{i}.{name}': np.ascontiguousarray(value) for name, value in arrays.items()}
        others = {name: value for name, value in vars(step).items() if name not in arrays}
        steps.append(dict(kind=type(step).__name__, arrays=[*arrays], **others))
    values = {name: asdict(value) for name, value in plan.values.items()}
    text = json.dumps(dict(version=VERSION, image=plan.image, logits=plan.logits, values=values, steps=steps))
    tensors[PLAN] = np.frombuffer(text.encode(), np.uint8)
    path.write_bytes(save(tensors, metadata))


def read_metadata(path: Path) -> dict[str, str]:
    """The texts of the caller."""
    from safetensors import safe_open

    with safe_open(path, framework='numpy') as file:
        return file.metadata() or {}


def read(path: Path) -> Plan:
    """Raises:
    ValueError: the file is of another version, or its parts do not fit each other.
    """
    from safetensors.numpy import load

    tensors = load(path.read_bytes())  # a file that is cut short while it is mapped would end the process
    content: Any = json.loads(tensors[PLAN].tobytes())
    if content['version'] != VERSION:
        raise ValueError(f'version {content["version"]}')
    values = {name: Value(**value) for name, value in content['values'].items()}
    steps: list[Any] = []
    for i, fields in enumerate(content['steps']):
        fields |= {name: tensors[f'{i}.{name}'] for name in fields.pop('arrays')}
        steps.append(KINDS[fields.pop('kind')](**fields))
    plan = Plan(content['image'], content['logits'], values, steps)
    shapes.require(plan)
    return plan
