"""Options of `train`: each is a line of the config, and one that cannot be is refused."""

import argparse

import pytest
import torch
from mmengine.config import Config

from mmseg_bisenet.cli import train
from mmseg_bisenet.errors import InputError

NAME = 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'


def applied(cfg: Config, *options: str) -> Config:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    train.apply_options(cfg, parser.parse_args(['a config', *options]))
    return cfg


@pytest.fixture
def cfg(configs) -> Config:
    return Config.fromfile(configs / NAME)


def test_none_changes_nothing(cfg, configs):
    assert applied(cfg).to_dict() == Config.fromfile(configs / NAME).to_dict()


@pytest.mark.parametrize('amp', [False, True], ids=['plain', 'amp'])
def test_bfloat16(cfg, configs, amp):
    name = NAME.replace('4xb4', '4xb4-amp') if amp else NAME
    wrapper = applied(Config.fromfile(configs / name), '--amp', '--amp-dtype', 'bfloat16').optim_wrapper
    assert wrapper == dict(cfg.optim_wrapper, type='mmseg_bisenet.BFloat16OptimWrapper')


def test_float16_scales_the_loss_dynamically(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    wrapper = applied(cfg, '--amp').optim_wrapper
    assert (wrapper.type, wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')


def test_float16_needs_a_gpu(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match='add --amp-dtype bfloat16'):
        applied(cfg, '--amp')


def test_the_learning_rate_follows_the_images_of_a_step(cfg):
    cfg = applied(cfg, '--auto-scale-lr', '--accumulate', '2')
    assert cfg.optim_wrapper.accumulative_counts == 2
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=8)


def test_accumulation_of_the_config_counts_too(cfg):
    cfg.optim_wrapper.accumulative_counts = 4
    assert applied(cfg, '--auto-scale-lr').auto_scale_lr.base_batch_size == 4


def test_the_others(cfg):
    cfg.custom_hooks = [dict(type='EarlyStoppingHook', monitor='mIoU')]
    cfg = applied(cfg, '--channels-last', '--compile', '--ema')
    assert cfg.model.channels_last is True
    assert [hook.type for hook in cfg.custom_hooks] == ['EarlyStoppingHook', 'mmseg_bisenet.CompileHook', 'EMAHook']


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (dict(optim_wrapper=dict(type='SomeWrapper')), ['--amp'], 'not SomeWrapper'),
        (dict(model=dict(type='EncoderDecoder')), ['--channels-last'], 'not of EncoderDecoder'),
        ({}, ['--accumulate', '0'], 'give 1 or more'),
        (dict(auto_scale_lr=dict(_delete_=True)), ['--auto-scale-lr'], 'base_batch_size=16'),
        (
            dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype='float16')),
            ['--amp', '--amp-dtype', 'bfloat16'],
            '^--amp: optim_wrapper.dtype of the config is float16, and --amp-dtype sets the type; leave one of them',
        ),
        (
            dict(custom_hooks=[dict(type='EMAHook')]),
            ['--ema'],
            r'^--ema: custom_hooks\.0 of the config averages the weights already; leave one of them out$',
        ),
    ],
    ids=['amp', 'channels-last', 'accumulate', 'auto-scale-lr', 'amp-dtype', 'ema'],
)
def test_what_cannot_be_is_refused(cfg, change, options, message):
    cfg.merge_from_dict(change)
    with pytest.raises(InputError, match=message):
        applied(cfg, *options)


@pytest.mark.parametrize(
    ('options', 'given'),
    [
        (['--channels-last'], 'model.channels_last=False'),
        (['--accumulate', '2'], 'optim_wrapper.accumulative_counts=4'),
        (['--auto-scale-lr'], 'auto_scale_lr.enable=False'),
    ],
)
def test_an_option_and_its_field_that_differ(cfg, options, given):
    with pytest.raises(InputError) as caught:
        applied(cfg, *options, '--cfg-options', given)
    assert str(caught.value) == (f'{options[0]} and --cfg-options {given} contradict each other; leave one of them out')


def test_an_option_and_its_field_that_agree(cfg):
    assert applied(cfg, '--channels-last', '--cfg-options', 'model.channels_last=True').model.channels_last is True
