"""Labels from logits equal those of upsampling and argmax, in every implementation, but for near ties."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mmseg_bisenet import upsampling
from mmseg_bisenet.models.inference import upsample_argmax as module

side = st.integers(1, 24)


@st.composite
def maps(draw) -> torch.Tensor:
    """Logits (N, C, h, w); some have equal classes, and some are half precision or channels last."""
    shape = draw(st.integers(1, 2)), draw(st.integers(1, 40)), draw(side), draw(side)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 2**31))))
    if draw(st.booleans()):
        logits = logits.round()
    logits = logits.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])))
    return logits.to(memory_format=draw(st.sampled_from([torch.contiguous_format, torch.channels_last])))


def assert_largest(labels: torch.Tensor, logits: torch.Tensor, size: tuple[int, int], aligned: bool) -> None:
    """Each label is a class that is the largest but for rounding; and equal to argmax where that is clear."""
    full = F.interpolate(logits.double(), size, mode='bilinear', align_corners=aligned)
    assert labels.dtype == torch.uint8 and labels.shape == (len(logits), *size)
    chosen = full.gather(1, labels[:, None].long())[:, 0]
    assert (full.amax(1) - chosen).max() <= 1e-5
    top = full.topk(min(2, full.shape[1]), 1).values
    clear = (top[:, 0] - top[:, -1] > 1e-5) if full.shape[1] > 1 else torch.ones_like(labels, dtype=torch.bool)
    assert torch.equal(labels[clear].long(), full.argmax(1)[clear])


@given(maps(), side, side, st.booleans())
def test_torch(logits, height, width, aligned):
    assert_largest(module.upsample_argmax(logits, (height, width), aligned), logits, (height, width), aligned)


@given(maps(), side, side, st.booleans(), st.integers(1, 3))
def test_arrays(logits, height, width, aligned, threads):
    labels = upsampling.upsample_argmax(logits.float().numpy(), (height, width), aligned, threads)
    assert_largest(torch.from_numpy(labels), logits.float(), (height, width), aligned)


@given(maps(), side, side, st.booleans())
def test_arrays_without_numba(logits, height, width, aligned):
    labels = np.empty((len(logits), height, width), np.uint8)
    taps = [upsampling.taps(*lengths, aligned) for lengths in zip(logits.shape[2:], (height, width), strict=True)]
    upsampling.label_rows_in_strips(logits.float().numpy(), *taps[0], *taps[1], labels, 0, len(logits) * height)
    assert_largest(torch.from_numpy(labels), logits.float(), (height, width), aligned)
