"""The Triton kernel on a CPU, in Triton's interpreter; `make test-extras` installs Triton, which has 1 GB."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_bisenet.models.inference.upsample_argmax import reference

triton = pytest.importorskip('triton', reason='Triton is not installed; run: make test-extras')

from triton.runtime.interpreter import InterpretedFunction  # noqa: E402

from mmseg_bisenet.models.inference import upsample_argmax_triton as module  # noqa: E402


@pytest.fixture
def interpreted(monkeypatch) -> None:
    monkeypatch.setattr(module, '_label_block', InterpretedFunction(module._label_block.fn))


def assert_labels(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> None:
    """Equal to the reference; either class if the two largest logits are equal up to rounding."""
    labels = module.upsample_argmax(logits, size, align_corners)
    assert (labels.dtype, labels.shape) == (torch.uint8, (len(logits), *size))
    upsampled = F.interpolate(logits.float(), size, mode='bilinear', align_corners=align_corners)
    chosen, highest = upsampled.gather(1, labels[:, None].long()), upsampled.amax(1, keepdim=True)
    assert (highest - chosen <= 1e-4 * highest.abs()).all()
    assert (labels == reference(logits, size, align_corners)).float().mean() >= 0.999


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    ('small', 'large'),
    [
        ((4, 20), (32, 160)),  # two blocks of columns
        ((3, 5), (24, 40)),
        ((3, 5), (21, 37)),  # odd
        ((2, 3), (45, 50)),  # more rows between two of the logits than a program has
        ((9, 7), (7, 5)),  # smaller
        ((4, 4), (4, 4)),  # the same
        ((1, 1), (9, 9)),
        ((6, 6), (1, 1)),
    ],
)
def test_any_ratio(interpreted, small, large, align_corners):
    assert_labels(torch.randn(2, 3, *small), large, align_corners)


def test_memory_formats_and_types(interpreted):
    logits = torch.randint(-3, 4, (2, 5, 3, 5)).float()  # exact in any order, with ties
    want = reference(logits, (24, 40))
    every_second = torch.zeros(2, 10, 3, 10)[:, ::2, :, ::2].copy_(logits)
    for given in (logits, logits.contiguous(memory_format=torch.channels_last), every_second, logits.half()):
        assert torch.equal(module.upsample_argmax(given, (24, 40)), want)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.filterwarnings('ignore:invalid value encountered:RuntimeWarning')
def test_not_finite(interpreted, value, align_corners):
    """As in PyTorch: the first NaN is the largest, and infinity times a weight of zero is NaN."""
    logits = torch.randn(2, 4, 4, 6)
    logits[0, 3, 2:4, 3] = value
    logits[:, 1, 0] = value
    logits[1, 2] = value
    size = (32, 48)
    labels = module.upsample_argmax(logits, size, align_corners)
    assert torch.equal(labels, reference(logits, size, align_corners))


@pytest.mark.parametrize('dtype', ['fp32', 'fp16', 'bf16'])
@pytest.mark.parametrize('capability', [80, 90])
def test_it_compiles_for_a_gpu(dtype, capability):
    """With the compiler that Triton brings."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = module._label_block
    constants = dict(CLASSES=19, ROWS=module.ROWS, COLUMNS=module.COLUMNS)
    signature = {name: 'constexpr' if name in constants else 'i32' for name in kernel.arg_names}
    signature |= dict(logits=f'*{dtype}', labels='*u8')
    binary = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget('cuda', capability, 32))
    assert binary.asm['cubin']
