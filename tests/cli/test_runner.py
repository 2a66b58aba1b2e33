"""MMEngine's Runner, with errors of ours."""

import pytest
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

import mmseg_bisenet
from mmseg_bisenet.cli.runner import CheckedRunner, require_batches
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetV2


@pytest.mark.parametrize(('batch_size', 'drop_last'), [(16, False), (6, True), (7, True)])
def test_a_training_by_epochs_has_a_batch(monkeypatch, batch_size, drop_last):
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = DataLoader(range(6), batch_size, drop_last=drop_last)
    monkeypatch.setattr(Runner, 'build_train_loop', lambda self, given: given)
    runner = CheckedRunner.__new__(CheckedRunner)
    runner.cfg, runner.model = Config(), nn.Identity()
    if batch_size != 7:
        assert runner.build_train_loop(loop) is loop
        return
    said = (
        r'^train_dataloader gives no batch: it has 6 images, a batch_size of 7, and drop_last; lower batch_size, or set'
    )
    with pytest.raises(InputError, match=said):
        runner.build_train_loop(loop)


@pytest.mark.parametrize('name', ['bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', 'bisenetv2_camvid'])
def test_a_last_batch_of_one_image_is_refused_before_the_first_epoch(name):
    model = mmseg_bisenet.get_model(name).train()
    said = r'ends each epoch with a batch of one image, 9 in batches of 4, .*; set train_dataloader\.drop_last=True, or'
    with pytest.raises(InputError, match=said):
        require_batches(DataLoader(range(9), 4), model)
    for images, batch_size, drop_last in [(10, 4, False), (9, 4, True), (3, 1, False)]:
        require_batches(DataLoader(range(images), batch_size, drop_last=drop_last), model)
    group_norm = BiSeNetV2(norm_cfg=dict(type='GN', num_groups=4))
    require_batches(DataLoader(range(9), 4), group_norm)
