"""Parameter-wise rules against MMEngine's, and bfloat16 steps."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bisenet.engine.optim import rules_without_effect
from mmseg_bisenet.models import BiSeNetV2

RULES = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)


@pytest.fixture
def model() -> nn.Module:
    return nn.ModuleDict(
        dict(backbone=BiSeNetV2(), decode_head=nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)))
    )


def settings(model: nn.Module, constructor: str | None, **paramwise) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter."""
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.01),
        paramwise_cfg=paramwise,
    )
    if constructor:
        cfg['constructor'] = constructor
    optimizer = build_optim_wrapper(model, cfg).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    result = {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    assert result.keys() == dict(model.named_parameters()).keys()
    return result


OURS = 'mmseg_bisenet.ParamwiseConstructor'


@pytest.mark.parametrize(
    'rules',
    [
        RULES,
        dict(custom_keys={'decode_head': dict(lr_mult=10.0)}),
        dict(RULES, custom_keys={'decode_head': dict(lr_mult=10.0, decay_mult=0.5)}),
    ],
    ids=['norms and biases', 'heads', 'decay by key'],
)
def test_where_one_rule_applies_it_is_mmengines(model, rules):
    assert settings(model, OURS, **rules) == settings(model, None, **rules)


def test_norms_of_heads_that_learn_faster_have_no_decay(model):
    rates = settings(model, OURS, **RULES, custom_keys={'decode_head': dict(lr_mult=10.0)})
    norms = {name for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    for name, (rate, decay) in rates.items():
        module, kind = name.rsplit('.', 1)
        assert rate == (1.0 if name.startswith('decode_head') else 0.1)
        assert decay == (0 if module in norms or kind == 'bias' else 0.01)


def test_equal_settings_share_a_group(model):
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.1, weight_decay=0.01),
        constructor=OURS,
        paramwise_cfg=dict(RULES, custom_keys={'decode_head': dict(lr_mult=10.0)}),
    )
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    assert sorted((group['lr'], group['weight_decay']) for group in groups) == [
        (0.1, 0),
        (0.1, 0.01),
        (1.0, 0),
        (1.0, 0.01),
    ]


def test_rules_that_match_no_parameter(model):
    names = ['decode_head', 'backbone.ffm', 'backbone.detail.', 'head.0.weight', 'neck']
    keys = {name: dict(lr_mult=2.0) for name in names}
    assert rules_without_effect(dict(custom_keys=keys), model) == ['backbone.ffm', 'neck']
    assert rules_without_effect(RULES, model) == []


def test_bfloat16_steps():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    cfg = dict(type='mmseg_bisenet.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    wrapper = build_optim_wrapper(model, cfg)
    images, before = torch.randn(2, 3, 8, 8), model[0].weight.clone()
    with wrapper.optim_context(model):
        logits = model(images)
        assert logits.dtype == torch.bfloat16
        loss = logits.float().square().mean()
    with torch.autocast('cpu', torch.bfloat16):
        expected = torch.autograd.grad(model(images).float().square().mean(), model[0].weight)[0]
    wrapper.update_params(loss)
    assert expected.dtype == torch.float32
    torch.testing.assert_close(model[0].weight, before - 0.1 * expected)
