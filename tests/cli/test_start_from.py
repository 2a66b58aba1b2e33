"""What a training starts from: `--from`, `load_from` and `--resume` take a checkpoint of this network only."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from torch import nn

from mmseg_bisenet.checkpoints.files import read
from mmseg_bisenet.checkpoints.fit import completed, own_tensors
from mmseg_bisenet.cli import main
from mmseg_bisenet.cli.start_from import read_load_from
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find as find_model
from mmseg_bisenet.model_index import find_config

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'


@pytest.fixture(scope='module')
def cfg() -> Config:
    return Config.fromfile(find_config(NAME))


@pytest.fixture(scope='module')
def weights(cfg) -> dict[str, torch.Tensor]:
    from mmseg_bisenet.checkpoints.fit import build_model

    return build_model(cfg.model).state_dict()


def checked(cfg: Config, path: Path | str) -> Config:
    cfg = cfg.copy()
    cfg.load_from = str(path)
    read_load_from(cfg)
    return cfg


# -- load_from ---------------------------------------------------------------------------------------------------------


def test_its_own_network_is_taken(cfg, weights, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    path = tmp_path / 'a.pth'
    torch.save(weights, path)
    assert checked(cfg, path).load_from == str(path)
    assert checked(cfg, f'file://{path}').load_from != str(path)  # a copy
    torch.save({key: value for key, value in weights.items() if not key.startswith('auxiliary_head.')}, path)
    checked(cfg, path)
    torch.save({key: value[:11] if '.conv_seg.' in key else value for key, value in weights.items()}, path)
    checked(cfg, path)  # fine-tuning for other classes


def test_it_is_compared_without_weights(cfg, weights):
    own = own_tensors(cfg.model)
    assert all(value.is_meta for value in own.values())
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in weights.items()}


class ReadsValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(int(torch.tensor(3.0).item())))


def test_a_network_that_cannot_be_built_without_values():
    own = own_tensors(ConfigDict(type=ReadsValues))
    assert own['bias'].shape == (3,) and not own['bias'].is_meta


def test_no_load_from(cfg):
    assert read_load_from(cfg) is None
    assert cfg.load_from is None


def test_another_network(cfg, weights, tmp_path):
    torch.save({'conv1.weight': torch.zeros(3)}, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=rf'load_from: checkpoint {tmp_path}/a.pth is not of this config: \d+ missing'):
        checked(cfg, tmp_path / 'a.pth')
    key = 'backbone.detail.detail_branch.0.0.conv.weight'
    torch.save(weights | {key: torch.zeros(2, 3, 3, 3)}, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=rf'1 of another shape: {key} \(2, 3, 3, 3\) instead of \(64, 3, 3, 3\); give'):
        checked(cfg, tmp_path / 'a.pth')


def test_a_name_of_the_index_is_taken(cfg, configs):
    cfg = Config.fromfile(configs / 'bisenetv2/bisenetv2_fcn_1xb16-20k_own-folder-512x512.py')
    cfg.load_from = 'bisenetv2_camvid'
    given = read_load_from(cfg, '--from')
    shipped = find_model('bisenetv2_camvid').weights
    assert cfg.load_from == str(shipped)
    torch.testing.assert_close(given, read(shipped).state_dict, rtol=0, atol=0)


NEITHER = 'is neither a file nor a model with weights; the nearest names are '


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('bisenetv2_camvit', f'--from bisenetv2_camvit {NEITHER}bisenetv2_camvid, '),
        (f'{NAME}.pth', f'--from {NAME}.pth {NEITHER}'),
        ('bisenetv2_fcn_4xb4-ohem-160k_ade20k-512x512', 'model bisenetv2_fcn_4xb4-ohem-160k_ade20k-512x512 has no w'),
    ],
)
def test_a_name_without_weights(cfg, name, message):
    cfg = cfg.copy()
    cfg.load_from = name
    with pytest.raises(InputError, match=f'^{message}'):
        read_load_from(cfg, '--from')


def test_what_fits_is_taken(weights):
    """The tensors of a checkpoint with other classes and without boosters; the others are the network's own."""
    given = {key: value + 1 for key, value in weights.items() if not key.startswith('auxiliary_head.')}
    classifier = ['decode_head.conv_seg.weight', 'decode_head.conv_seg.bias']
    given |= {key: torch.zeros(3, *weights[key].shape[1:]) for key in classifier}
    taken, anew = completed(given, weights)
    boosters = [key for key in weights if key.startswith('auxiliary_head.')]
    assert anew == {'of another number of classes': classifier, 'not in the checkpoint': boosters}
    expected = {key: value if key in (*classifier, *boosters) else value + 1 for key, value in weights.items()}
    torch.testing.assert_close(taken, expected, rtol=0, atol=0)


def test_none_of_it_is_a_traceback(cfg, tmp_path):
    with pytest.raises(InputError, match=r'^load_from \S+nowhere\.pth is neither a file nor a model with weights; the'):
        checked(cfg, tmp_path / 'nowhere.pth')
    (tmp_path / 'a.pth').write_text('words')
    with pytest.raises(InputError, match=r'a\.pth is damaged or no checkpoint'):
        checked(cfg, tmp_path / 'a.pth')
    with pytest.raises(InputError, match='cannot be fetched'):
        checked(cfg, f'file://{tmp_path}/nowhere.pth')


# -- --resume ----------------------------------------------------------------------------------------------------------


def test_one_of_both(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    assert main(['train', NAME, '--work-dir', str(tmp_path / 'work'), '--resume', '--from', 'bisenetv2_camvid']) == 2
    assert 'error: --from starts a training, and --resume continues one; give one of them' in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('more', [[], ['--cfg-options', 'load_from=nowhere.pth']], ids=['', 'a config with load_from'])
def test_the_command_says_it(drawn, tmp_path, monkeypatch, capsys, more):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    torch.save(
        dict(state_dict=dict(a=torch.ones(1)), meta=dict(epoch=0, iter=4), message_hub={}), tmp_path / 'iter_4.pth'
    )
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_4.pth'))
    assert main(['train', NAME, '--work-dir', str(tmp_path), '--resume', *more]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('mmseg-bisenet: error: ')]
    assert f'--resume: checkpoint {tmp_path}/iter_4.pth is not of this config' in line
