"""Parts of a network that do not fit each other, and pretrained files that have nothing of a part."""

import copy

import pytest
import torch
from mmengine.config import Config

from mmseg_bisenet.checkpoints import Checkpoint, write
from mmseg_bisenet.checkpoints.fit import build_model, require_channels, require_pretrained
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find_config


@pytest.fixture(scope='module')
def base() -> Config:
    return Config.fromfile(find_config('bisenetv2_fcn_1xb8-400it_miniscapes-128x256')).model


@pytest.fixture
def cfg(base) -> Config:
    return copy.deepcopy(base)


def test_parts_that_fit_change_nothing(cfg):
    model = build_model(cfg)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    require_channels(model)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ('part', 'options'),
    [
        ('decode_head', dict(in_channels=7)),
        ('backbone', dict(in_channels=1)),
        ('neck', dict(type='FPN', in_channels=[16], out_channels=16, num_outs=1)),
    ],
)
def test_parts_that_do_not_fit(cfg, part, options):
    cfg[part] = {**(cfg.get(part) or {}), **options}
    with pytest.raises(InputError, match=rf'^model\.{part} fails \(.*; fix model\.{part} in the config, or with --cfg'):
        require_channels(build_model(cfg))


def test_a_pretrained_file_of_nothing(cfg, tmp_path):
    path = tmp_path / 'some.pth'
    write(path, Checkpoint(build_model(cfg).state_dict(), {}), False)
    cfg.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    text = (
        rf'^model\.backbone\.init_cfg takes no tensor from {path}: the names or the shapes differ; fix its checkpoint,'
    )
    with pytest.raises(InputError, match=text):
        require_pretrained(build_model(cfg))
    cfg.backbone.init_cfg.prefix = 'backbone.'
    require_pretrained(build_model(cfg))
