"""Whatever is raised while a part of a config is built or runs becomes one line that names the field."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import TRANSFORMS

from mmseg_bisenet.cli.launch import Pipeline
from mmseg_bisenet.config.errors import as_written, building, path_of_type, running
from mmseg_bisenet.errors import InputError

FLIP = dict(type='RandomFlip', prob=5.0)


def steps(*pipeline: dict) -> Config:
    return Config(dict(train_dataloader=dict(dataset=dict(pipeline=list(pipeline)))))


def test_the_innermost_dict_is_named_and_an_assertion_without_text_quotes_its_line():
    cfg = steps(dict(type='RandomFlip', prob=0.5), dict(type='RandomApply', transforms=[FLIP]))
    with pytest.raises(InputError) as caught, DefaultScope.overwrite_default_scope('mmseg'):
        with building('train_dataloader', cfg):
            TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[1])
    assert str(caught.value) == (
        'train_dataloader.dataset.pipeline.1.transforms.0 cannot be built (AssertionError: assert 0 <= prob <= 1); '
        'fix train_dataloader.dataset.pipeline.1.transforms.0 in the config, or with --cfg-options'
    )


def test_what_is_not_in_the_config_is_named_by_its_key():
    with pytest.raises(
        InputError, match=r'^model cannot be built \(ValueError: no\); fix model in the config, or with'
    ):
        with building('model', Config(dict(model=dict(type='A')))):
            raise ValueError('no')


def test_a_step_that_fails_names_itself_and_the_image():
    with DefaultScope.overwrite_default_scope('mmseg'):
        pipeline = Pipeline([dict(type='Resize', scale_factor=0.001)], 'tta_pipeline')
    with pytest.raises(InputError) as caught:
        pipeline(dict(img_path='a.png', img=np.zeros((32, 32, 3), np.uint8)))
    assert str(caught.value).startswith('tta_pipeline.0 (Resize) fails on a.png (error: OpenCV')
    assert str(caught.value).endswith('; fix tta_pipeline.0 in the config, or with --cfg-options')


@pytest.mark.parametrize('error', [InputError('mine'), FileNotFoundError(2, 'x'), MemoryError(), ImportError('y')])
def test_what_the_system_says_passes(error):
    with pytest.raises(type(error)) as caught, running('a', 5):
        raise error
    assert caught.value is error


def test_paths_as_users_write_them():
    cfg = Config(dict(model=dict(type='A'), custom_hooks=[dict(type='mmseg_bisenet.B'), dict(type='EMAHook')]))
    assert as_written(cfg, 'test_dataloader.dataset.pipeline.1') == 'test_dataloader.dataset.pipeline.1'
    cfg.model.module = dict(type='C')  # as --aug-test does
    assert as_written(cfg, 'test_dataloader.dataset.dataset.pipeline.1') == 'tta_pipeline.1'
    assert as_written(cfg, 'val_dataloader.dataset.pipeline.1') == 'val_dataloader.dataset.pipeline.1'
    assert path_of_type(cfg, 'EMAHook', 'default_hooks', 'custom_hooks') == 'custom_hooks.1'
    assert path_of_type(cfg, 'D', 'default_hooks', 'custom_hooks') == 'default_hooks or custom_hooks'
