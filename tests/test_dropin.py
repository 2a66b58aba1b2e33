"""Stock configs through the drop-in. In processes of their own: it changes MMSegmentation's registry."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

found = []
for path in sys.argv[1:]:
    cfg = Config.fromfile(path)
    init_default_scope('mmseg')
    model = MODELS.build(cfg.model)
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    found.append(dict(
        backbone=type(model.backbone).__module__,
        norms=len(norms),
        sync=sum(isinstance(layer, nn.SyncBatchNorm) for layer in norms),
    ))
print(json.dumps(found))
"""
NORMS = {
    # 53 of the backbone, one of the head, two of each booster
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024': 53 + 1 + 8,
    'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024': 20 + 13 + 1 + 2,
}


def test_stock_configs_build_ours_with_every_norm_synchronised(stock_configs, tmp_path):
    children = [tmp_path / f'{name.partition("/")[0]}.py' for name in NORMS]
    for name, child in zip(NORMS, children, strict=True):
        child.write_text(
            f"_base_ = '{stock_configs}/{name}.py'\n"
            "custom_imports = dict(imports=['mmseg_bisenet.dropin'], allow_failed_imports=False)\n"
        )
    done = subprocess.run([sys.executable, '-c', PROGRAM, *children], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        dict(backbone=f'mmseg_bisenet.models.{name.partition("/")[0]}.backbone', norms=norms, sync=norms)
        for name, norms in NORMS.items()
    ]
