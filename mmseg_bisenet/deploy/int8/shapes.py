"""Whether the arrays and values of a plan fit each other: the kernels do not check what they read."""

import numpy as np

from mmseg_bisenet.deploy.int8.steps import Bilinear, Convolution, Gate, Linear, Mean, Nearest, Plan, Pool, Step

Shape = tuple[int, ...]
RESIZINGS = ('bilinear', 'corners')


def require(plan: Plan) -> None:
    """Raises:
    ValueError: a value has another shape than its step gives it, or an array does not fit.
    """
    shapes = {name: tuple(value.shape) for name, value in plan.values.items()}
    computed = {plan.image}
    for name, value in plan.values.items():
        whole = [shapes[part] for part in value.parts]
        if whole and (sum(part[0] for part in whole), *whole[0][1:]) != shapes[name]:
            raise ValueError(f'{name} does not fit its parts')
    if len(shapes[plan.image]) != 3 or shapes[plan.image][0] != 4 or plan.values[plan.image].parts:
        raise ValueError(f'{plan.image} is no image')
    for step in plan.steps:
        if shapes[step.output] != _given(step, shapes) or not _others_fit(step, shapes):
            raise ValueError(f'{step.output} does not fit what it reads')
        computed.add(step.output)
    if plan.logits not in computed:
        raise ValueError(f'nothing gives {plan.logits}')


def _given(step: Step, shapes: dict[str, Shape]) -> Shape | None:
    """The shape of what a step gives; None if its arrays do not fit."""
    channels, height, width = shapes[step.source]
    if isinstance(step, Convolution):
        outputs, kernel = len(step.weight), step.weight.shape[-1]
        fits = step.weight.shape == (outputs, channels / step.groups, kernel, kernel) and kernel % 2 == 1
        fits = (
            fits and step.stride >= 1 and step.groups in (1, channels) and _is_floats(step.weight, step.bias, outputs)
        )
        return (outputs, *_strided(height, width, step.stride)) if fits else None
    if isinstance(step, Pool):
        return (channels, *_strided(height, width, step.stride)) if step.kernel % 2 else None
    if isinstance(step, Nearest):
        copied = ((step.row_of, height), (step.column_of, width))
        fits = all(of.dtype == np.int64 and 0 <= of.min() and of.max() < side for of, side in copied)
        return (channels, len(step.row_of), len(step.column_of)) if fits else None
    if isinstance(step, Bilinear):
        return (channels, *shapes[step.output][1:]) if step.resizing in RESIZINGS else None
    if isinstance(step, Mean):
        return channels, 1, 1
    if isinstance(step, Linear):
        outputs = len(step.weight)
        fits = step.weight.shape == (outputs, channels) and (height, width) == (1, 1)
        return (outputs, 1, 1) if fits and _is_floats(step.weight, step.bias, outputs) else None
    return channels, height, width


def _others_fit(step: Step, shapes: dict[str, Shape]) -> bool:
    """Whether the other inputs have the shapes that a step reads."""
    output = shapes[step.output]
    alike = [name for key in ('shortcut', 'gated') if (name := getattr(step, key, None))]
    vectors = [name for key in ('factor', 'summand') if (name := getattr(step, key, None))]
    if not isinstance(step, Gate):
        return {shapes[name] for name in alike} <= {output} and {shapes[name] for name in vectors} <= {
            (output[0], 1, 1)
        }
    small = {shapes[name] for name in (step.gate, step.summand) if name}
    known = step.resizing in (*RESIZINGS, 'nearest')
    return known and len(small) == 1 and min(small)[0] == output[0]


def _strided(height: int, width: int, stride: int) -> Shape:
    return -(-height // stride), -(-width // stride)


def _is_floats(weight: np.ndarray, bias: np.ndarray, outputs: int) -> bool:
    return weight.dtype == bias.dtype == np.float32 and bias.shape == (outputs,)
