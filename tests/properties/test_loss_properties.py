"""The losses equal PyTorch's cross entropy of upsampled logits, for any sizes, classes, ignored ids and types."""

import math

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mmseg_bisenet.models.losses import pixel_cross_entropy as strips
from mmseg_bisenet.models.losses.cross_entropy import CrossEntropyLoss, _kth_largest, ohem_cross_entropy
from mmseg_bisenet.models.losses.pixel_cross_entropy import pixel_cross_entropy

side = st.integers(1, 12)


@st.composite
def batches(draw) -> tuple[torch.Tensor, torch.Tensor, int, bool]:
    """Logits (N, C, h, w) in float64, labels (N, H, W), the ignored id, and whether corners are aligned."""
    images, classes = draw(st.integers(1, 3)), draw(st.integers(2, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.randn(images, classes, draw(side), draw(side), generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (images, draw(side), draw(side)), generator=generator)
    ignored = draw(st.sampled_from([255, -100, 0, classes - 1]))
    labels[torch.rand(labels.shape, generator=generator) < draw(st.sampled_from([0, 0.3, 1]))] = ignored
    if draw(st.booleans()):
        logits = logits.to(memory_format=torch.channels_last)
    return logits.mul_(draw(st.sampled_from([0.1, 1, 50]))).requires_grad_(), labels, ignored, draw(st.booleans())


def upsampled(logits: torch.Tensor, labels: torch.Tensor, aligned: bool) -> torch.Tensor:
    return F.interpolate(logits, labels.shape[1:], mode='bilinear', align_corners=aligned)


@given(batches())
def test_losses_and_gradients(batch):
    logits, labels, ignored, aligned = batch
    losses, hits = pixel_cross_entropy(logits, labels, aligned, ignored)
    full = upsampled(logits, labels, aligned)
    expected = F.cross_entropy(full, labels, ignore_index=ignored, reduction='none')
    torch.testing.assert_close(losses, expected)
    weights = torch.linspace(-1, 1, labels.numel(), dtype=torch.float64).view(labels.shape)
    gradients = [torch.autograd.grad((each * weights).sum(), logits)[0] for each in (losses, expected)]
    torch.testing.assert_close(*gradients)
    valid = labels != ignored
    own = full.gather(1, labels.masked_fill(~valid, 0)[:, None])[:, 0]
    torch.testing.assert_close(hits, (own >= full.amax(1)) & valid)


@given(batches())
def test_numba_in_float32(batch):
    assert strips._kernels() is not None
    double, labels, ignored, aligned = batch
    single = double.detach().float().requires_grad_()
    double = single.detach().double().requires_grad_()
    weights = torch.linspace(-1, 1, labels.numel()).view(labels.shape)
    results = []
    for logits in (single, double):
        losses, _ = pixel_cross_entropy(logits, labels, aligned, ignored)
        results.append((losses.float(), torch.autograd.grad((losses * weights).sum(), logits)[0].float()))
    size = max(1, single.abs().max().item())
    torch.testing.assert_close(*(losses for losses, _ in results), rtol=1e-5, atol=1e-5 * size)
    torch.testing.assert_close(*(gradients for _, gradients in results), rtol=1e-4, atol=1e-5 * size)


@given(batches(), st.floats(0.05, 1), st.floats(0, 1))
def test_mining_keeps_the_hard_and_enough(batch, threshold, share):
    logits, labels, ignored, aligned = batch
    mined = ohem_cross_entropy(logits, labels, threshold, share, ignored, align_corners=aligned)
    full = upsampled(logits, labels, aligned)
    losses = F.cross_entropy(full, labels, ignore_index=ignored, reduction='none')[labels != ignored]
    losses = losses.detach().sort(descending=True).values
    hard = int((losses > -math.log(threshold)).sum())
    count = max(hard, int(len(losses) * share))
    # Losses are compared in float32, so pixels that are equal there may count as one.
    bounds = [losses[: max(count + more, 0)] for more in (-1, 0, 1)]
    means = [float(kept.mean()) if len(kept) else 0.0 for kept in bounds]
    ties = losses.float().unique().numel() < len(losses)
    assert ties or min(means) - 1e-6 <= mined.item() <= max(means) + 1e-6
    assert mined.item() >= float(losses.mean() if count else 0) - 1e-6 * max(1, mined.item())


@given(batches(), st.lists(st.floats(0.01, 10), min_size=20, max_size=20))
def test_class_weights(batch, weights):
    logits, labels, ignored, _ = batch
    weights = weights[: logits.shape[1]]
    found = CrossEntropyLoss(class_weight=weights)(logits, labels, ignore_index=ignored)
    expected = F.cross_entropy(
        upsampled(logits, labels, False), labels, torch.tensor(weights, dtype=torch.float64), ignore_index=ignored
    )
    if (labels == ignored).all():
        assert found.item() == 0  # PyTorch gives NaN
    else:
        torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-5, atol=1e-7)


@given(st.lists(st.floats(0, 2**100, width=32), min_size=1, max_size=50), st.data())
def test_the_kth_largest(values, data):
    k = data.draw(st.integers(1, len(values)))
    assert _kth_largest(torch.tensor(values), torch.tensor(k)).item() == sorted(values, reverse=True)[k - 1]


@given(st.integers(1, 64), st.integers(1, 2**20))
def test_strips_fill_their_budget(images, row):
    for device, together, budget in (('cpu', 1, 2**20), ('cuda', images, 2**25)):
        count, rows = strips._strip_shape(images, row, torch.device(device))
        assert count == together
        assert rows == 1 or count * rows * row <= budget
        assert count * (rows + 1) * row > budget
