"""Stock's test_ce_loss.py and test_cross_entropy_loss.py, as far as they are of softmax and of the mean."""

import pytest
import torch
import torch.nn.functional as F
from base import build
from torch import nn

from mmseg_bisenet.errors import InputError


def loss(**cfg) -> nn.Module:
    return build(dict(type='mmseg_bisenet.CrossEntropyLoss', **cfg))


@pytest.mark.parametrize('avg_non_ignore', [True, False])
def test_of_one_pixel(avg_non_ignore):
    logits, label = torch.tensor([100.0, -100.0]).view(1, 2, 1, 1), torch.ones(1, 1, 1, dtype=torch.int64)
    of = loss(loss_weight=1.0, avg_non_ignore=avg_non_ignore)
    assert of(logits, label) == 200
    assert of.loss_name == 'loss_ce'
    assert loss(loss_weight=0.5)(logits, label) == 100
    # The weighted mean of one pixel, in stock 1.2.2 too.
    assert loss(class_weight=[0.8, 0.2])(logits, label) == 200


@pytest.mark.parametrize('avg_non_ignore', [True, False])
def test_ignored_pixels(avg_non_ignore):
    logits, labels = torch.full((2, 21, 8, 8), 0.5), torch.ones(2, 8, 8, dtype=torch.int64)
    labels[:, 0, 0] = 255
    total = F.cross_entropy(logits, labels, reduction='sum', ignore_index=255)
    expected = total / (126 if avg_non_ignore else 128)
    torch.testing.assert_close(loss(avg_non_ignore=avg_non_ignore)(logits, labels, ignore_index=255), expected)


@pytest.mark.parametrize('weights', ['ones', 'random'])
@pytest.mark.parametrize('ignored', [False, True])
def test_class_weights(weights, ignored):
    logits, labels = torch.rand(1, 10, 4, 4), torch.randint(0, 10, (1, 4, 4))
    class_weight = torch.ones(10) if weights == 'ones' else torch.rand(10)
    if ignored:
        labels[0, :2, 1] = 255
    expected = F.cross_entropy(logits, labels, class_weight, ignore_index=255)
    torch.testing.assert_close(loss(class_weight=class_weight.tolist())(logits, labels), expected)


@pytest.mark.parametrize('option', ['use_sigmoid', 'use_mask', 'reduction'])
def test_what_ours_does_not_have_is_refused(option):
    with pytest.raises(InputError, match=f'CrossEntropyLoss: {option} is True; remove it'):
        loss(**{option: True})
