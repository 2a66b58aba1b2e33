"""MMEngine's Runner, with errors of ours."""

import pytest
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmseg_bisenet.cli.runner import CheckedRunner
from mmseg_bisenet.errors import InputError


@pytest.mark.parametrize(('batch_size', 'drop_last'), [(16, False), (6, True), (7, True)])
def test_a_training_by_epochs_has_a_batch(monkeypatch, batch_size, drop_last):
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = DataLoader(range(6), batch_size, drop_last=drop_last)
    monkeypatch.setattr(Runner, 'build_train_loop', lambda self, given: given)
    runner = CheckedRunner.__new__(CheckedRunner)
    runner.cfg = Config()
    if batch_size != 7:
        assert runner.build_train_loop(loop) is loop
        return
    said = (
        r'^train_dataloader gives no batch: it has 6 images, a batch_size of 7, and drop_last; lower batch_size, or set'
    )
    with pytest.raises(InputError, match=said):
        runner.build_train_loop(loop)
