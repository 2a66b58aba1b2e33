"""Stock configs through the drop-in. In processes of their own: it changes MMSegmentation's registry."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

cfg = Config.fromfile(sys.argv[1])
init_default_scope('mmseg')
model = MODELS.build(cfg.model)
norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
print(json.dumps(dict(
    backbone=type(model.backbone).__module__,
    norms=len(norms),
    sync=sum(isinstance(layer, nn.SyncBatchNorm) for layer in norms),
)))
"""


@pytest.mark.parametrize(
    ('config', 'backbone', 'norms'),
    [
        # 53 of the backbone, one of the head, two of each booster
        ('bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024', 'bisenetv2.backbone', 53 + 1 + 8),
        ('bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', 'bisenetv1.backbone', 20 + 13 + 1 + 2),
    ],
)
def test_a_stock_config_builds_ours_with_every_norm_synchronised(config, backbone, norms, stock_configs, tmp_path):
    child = tmp_path / 'three_lines.py'
    child.write_text(
        f"_base_ = '{stock_configs}/{config}.py'\n"
        "custom_imports = dict(imports=['mmseg_bisenet.dropin'], allow_failed_imports=False)\n"
    )
    done = subprocess.run([sys.executable, '-c', PROGRAM, str(child)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict(
        backbone=f'mmseg_bisenet.models.{backbone}', norms=norms, sync=norms
    )
