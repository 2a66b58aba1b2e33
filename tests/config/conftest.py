"""The config whose fields the tests of this folder change."""

import copy

import pytest
from mmengine.config import Config

from mmseg_bisenet.model_index import find_config

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'


@pytest.fixture(scope='session')
def base() -> Config:
    return Config.fromfile(find_config(NAME))


@pytest.fixture
def cfg(base) -> Config:
    return copy.deepcopy(base)
