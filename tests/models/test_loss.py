import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.loss import _kth_largest, ohem_cross_entropy

IGNORE = 255


def batch(seed: int = 0, confident: float = 3.0, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Random logits that lean towards the label, and labels with some ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (2, 16, 24), generator=generator)
    logits = torch.randn(2, classes, 16, 24, generator=generator)
    logits += confident * F.one_hot(labels, classes).permute(0, 3, 1, 2)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = IGNORE
    return logits.requires_grad_(), labels


def reference(logits: Tensor, labels: Tensor, threshold: float = 0.7, min_kept_fraction: float = 1 / 16) -> Tensor:
    """The definition, pixel by pixel, with a sort."""
    probability = logits.detach().softmax(1)
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction='none')
    pixels = []
    for n, y, x in (labels != IGNORE).nonzero().tolist():
        pixels.append((probability[n, labels[n, y, x], y, x].item(), losses[n, y, x]))
    pixels.sort(key=lambda pixel: pixel[0])
    kept = [loss for true_class, loss in pixels if true_class < threshold]
    kept = kept if len(kept) >= int(len(pixels) * min_kept_fraction) else None
    return torch.stack(kept or [loss for _, loss in pixels[: int(len(pixels) * min_kept_fraction)]]).mean()


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


def test_a_threshold_of_one_is_cross_entropy():
    logits, labels = batch()
    mined, plain = ohem_cross_entropy(logits, labels, threshold=1.0), F.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(mined, plain)
    torch.testing.assert_close(gradient(mined, logits), gradient(plain, logits))


@pytest.mark.parametrize(
    ('confident', 'share'),
    [(1.0, 1 / 16), (3.0, 1 / 16), (9.0, 1 / 16), (9.0, 0.5)],
    ids=['mostly hard', 'some hard', 'hardly any hard', 'half kept'],
)
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_reference(confident, share, seed):
    logits, labels = batch(seed, confident)
    mined, expected = (loss(logits, labels, 0.7, share) for loss in (ohem_cross_entropy, reference))
    torch.testing.assert_close(mined, expected)
    torch.testing.assert_close(gradient(mined, logits), gradient(expected, logits))


def test_all_pixels_ignored_is_zero():
    logits, labels = batch()
    loss = ohem_cross_entropy(logits, torch.full_like(labels, IGNORE))
    assert loss.item() == 0
    assert gradient(loss, logits).abs().max() == 0


def test_a_network_that_diverged_is_seen():
    logits, labels = batch()
    logits = logits.detach()
    logits[0, 1, 3, 4] = torch.nan
    assert ohem_cross_entropy(logits, labels.clamp(max=4)).isnan()


@pytest.mark.parametrize('change', [dict(threshold=0), dict(threshold=1.5), dict(min_kept_fraction=-1)])
def test_wrong_shares_are_named(change):
    init_default_scope('mmseg')
    with pytest.raises(InputError, match=next(iter(change))):
        MODELS.build(dict(type='mmseg_bisenet.OHEMCrossEntropyLoss') | change)


def test_half_precision_logits_are_computed_in_float():
    logits, labels = batch()
    half = logits.detach().half().requires_grad_()
    loss = ohem_cross_entropy(half, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ohem_cross_entropy(half.float(), labels))
    assert gradient(loss, half).dtype == torch.float16


def test_class_weights_scale_the_pixels_of_their_class():
    logits, labels = batch()
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5, 3.0])
    weighted = ohem_cross_entropy(logits, labels, threshold=1.0, class_weight=weight)
    pixels = F.cross_entropy(logits, labels, weight, ignore_index=IGNORE, reduction='sum')
    torch.testing.assert_close(weighted, pixels / (labels != IGNORE).sum())


@pytest.mark.parametrize('values', [torch.rand(1000), torch.randint(0, 5, (1000,)) / 4, torch.rand(1000) * 1e-38])
def test_selection_without_sorting(values):
    descending = values.sort(descending=True).values
    for k in (1, 2, 17, 499, 999, 1000):
        assert _kth_largest(values, torch.tensor(k)) == descending[k - 1]
    assert _kth_largest(values, torch.tensor(0)) == math.inf


def test_the_registered_loss():
    init_default_scope('mmseg')
    logits, labels = batch()
    loss = MODELS.build(dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', loss_weight=0.4, class_weight=[1, 2, 3, 4, 5]))
    expected = 0.4 * ohem_cross_entropy(logits, labels, class_weight=torch.tensor([1, 2, 3, 4, 5]))
    torch.testing.assert_close(loss(logits, labels, ignore_index=IGNORE), expected)
    assert loss.state_dict() == {}  # a checkpoint does not depend on the loss
    with pytest.raises(ValueError, match='remove `sampler`'):
        loss(logits, labels, weight=torch.ones_like(labels))
