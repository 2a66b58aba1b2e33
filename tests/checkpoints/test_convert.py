"""``mmseg-bisenet convert``: layouts found and told, round trips, and every kind of bad input."""

import copy
import importlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from base import build
from checkpoints.formula import quick_tensor, segmentor
from full_disk import largest_file
from mmengine.logging import MessageHub
from models.test_segmentor import read as read_config
from torch import Tensor

import mmseg_bisenet
from mmseg_bisenet import model_index
from mmseg_bisenet.checkpoints import SOURCES, convert, detect, read
from mmseg_bisenet.checkpoints.convert import LAYOUTS
from mmseg_bisenet.cli import main
from mmseg_bisenet.errors import InputError

CONFIGS = {path.stem: path for path in sorted(model_index.folder().glob('configs/bisenet*/*.py'))}
X39 = 'bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024'
X39_SPEED = 'bisenetv1_x39-d32-speed_4xb4-ohem-140k_cityscapes-768x1536'
V2 = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
CLASSIFIER = 'decode_head.conv_seg.weight'


def filled(config: str | Path, **model) -> dict[str, Tensor]:
    """The state dict of a config's network, filled by a formula."""
    cfg = read_config(str(config), (64, 64)).model
    cfg.update(model)
    with torch.device('meta'):
        shapes = {key: value.shape for key, value in build(cfg).state_dict().items()}
    return {key: quick_tensor(key, shape) for key, shape in shapes.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether both have the same keys and the same bits."""
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and a[key].shape == b[key].shape and torch.equal(bits(a[key]), bits(b[key]))
        for key in a
    )


def bits(values: Tensor) -> Tensor:
    return values.flatten().view(torch.uint8)


@pytest.fixture(scope='module')
def x39() -> dict[str, Tensor]:
    return filled(CONFIGS[X39])


@pytest.fixture
def saved(x39, tmp_path) -> Path:
    torch.save(x39, tmp_path / 'x39.pth')
    return tmp_path / 'x39.pth'


# -- OpenMMLab's -------------------------------------------------------------------------------------------------------

STOCK = [name for name in CONFIGS if '160k' in name and not re.search('v2.*coco|ade20k|paddleseg', name)]
# Whose networks are those of stock configs, or of another config here.
STOCK_LIKE = re.compile('160k|camvid|benchmark|coco-stuff10k|own-folder')


def network(name: str) -> str:
    """Configs of one network and data set have the same keys and shapes."""
    return f'{name.partition("_")[0]}_{name.split("_")[1].split("-")[0]}_{name.split("_")[-1]}'


@pytest.fixture(scope='module')
def openmmlab(stock_configs, tmp_path_factory):
    """A checkpoint of each stock network as OpenMMLab publishes it, filled by a formula, and what it converts to."""
    done = {}

    def get(name: str) -> tuple[dict[str, Tensor], Path, dict[str, Tensor]]:
        if network(name) not in done:
            done.clear()  # half a gigabyte each
            state_dict = filled(next(stock_configs.glob(f'bisenetv[12]/{name}.py')))
            folder = tmp_path_factory.mktemp('openmmlab')
            names = tuple(map(str, range(len(state_dict[CLASSIFIER]))))
            meta = dict(CLASSES=names, PALETTE=[[0, 0, 0]] * len(names), mmseg_version='0.18.0')
            torch.save({'meta': meta, 'state_dict': state_dict}, folder / 'in.pth')
            converted = convert(folder / 'in.pth', folder / 'out.pth')
            assert (converted.source, converted.dropped) == ('openmmlab', ())
            done[network(name)] = state_dict, converted.config, read(folder / 'out.pth').state_dict
            for file in folder.glob('*.pth'):
                file.unlink()
        return done[network(name)]

    return get


@pytest.mark.parametrize('name', sorted(STOCK, key=network))
def test_openmmlab_checkpoints_fit_every_config(name, openmmlab):
    state_dict, config, converted = openmmlab(name)
    assert network(config.stem) == network(name)
    assert same(converted, state_dict)
    model = segmentor(CONFIGS[name], converted)  # strictly
    assert len(model.auxiliary_head) == (4 if 'v2' in name else 2)


def test_there_are_fifteen_of_them():
    assert len(STOCK) == 15


# -- what is found and told --------------------------------------------------------------------------------------------


def test_every_layout_has_configs_and_finds_itself():
    assert SOURCES == ('openmmlab', 'coincheung', 'torchseg', 'faceparsing', 'paddleseg')
    for layout in LAYOUTS:
        assert detect(layout.marks) is detect(layout.marks, layout.source) is layout
        for pattern in layout.configs:
            assert any(Path(name).match(pattern) for name in CONFIGS)


def test_the_command_ends_with_the_config(saved, tmp_path, capsys):
    assert main(['convert', str(saved), str(tmp_path / 'out.pth')]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == X39
    assert 'BiSeNet V1 with Xception39 of openmmlab, 19 classes' in out and not err
    meta = torch.load(tmp_path / 'out.pth', weights_only=True)['meta']
    assert meta == dict(mmseg_bisenet_version=mmseg_bisenet.__version__, source='openmmlab', config=X39, num_classes=19)


def test_the_folder_of_the_target_is_made(saved, x39, tmp_path):
    target = tmp_path / 'new' / 'deep' / 'b.pth'
    convert(saved, target)
    assert read(target).state_dict.keys() == x39.keys()


def test_boosters_are_left_out_on_demand(saved, x39, tmp_path, capsys):
    assert main(['convert', str(saved), str(tmp_path / 'out.pth'), '--inference', '--source', 'openmmlab']) == 0
    assert 'auxiliary_head.0, auxiliary_head.1 (' in capsys.readouterr().err
    lean = read(tmp_path / 'out.pth').state_dict
    assert same(lean, {key: value for key, value in x39.items() if not key.startswith('auxiliary_head.')})
    segmentor(CONFIGS[X39], lean)
    assert convert(tmp_path / 'out.pth', tmp_path / 'again.pth').config == CONFIGS[X39]


def test_values_that_float16_does_not_have(x39, tmp_path, capsys):
    torch.save(x39 | {CLASSIFIER: x39[CLASSIFIER] * 1e6}, tmp_path / 'a.pth')
    assert main(['convert', str(tmp_path / 'a.pth'), str(tmp_path / 'b.safetensors'), '--half']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f'1 with NaN or infinite values: {CLASSIFIER}; convert it without --half')
    assert not (tmp_path / 'b.safetensors').exists()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_other_floating_types_become_float32(x39, tmp_path, dtype):
    given = {key: x.to(dtype) if x.is_floating_point() else x for key, x in x39.items()}
    torch.save(given, tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth')
    expected = {key: x.float() if x.is_floating_point() else x for key, x in given.items()}
    assert same(read(tmp_path / 'out.pth').state_dict, expected)


def test_the_weights_in_the_package_are_converted(tmp_path):
    shipped = model_index.find('bisenetv2_camvid').weights
    converted = convert(shipped, tmp_path / 'out.safetensors')
    assert (converted.config.stem, converted.num_classes) == (model_index.find('bisenetv2_camvid').config.stem, 11)
    given, done = read(shipped), read(tmp_path / 'out.safetensors')
    assert given.state_dict[CLASSIFIER].dtype == torch.float16
    expected = {key: x.float() if x.is_floating_point() else x for key, x in given.state_dict.items()}
    assert same(done.state_dict, expected)
    assert done.dataset_meta == given.dataset_meta


def test_names_of_another_number_of_classes(x39, tmp_path, capsys):
    torch.save(dict(state_dict=x39, meta=dict(CLASSES=['a', 'b'])), tmp_path / 'in.pth')
    line = refused(capsys, tmp_path / 'in.pth')
    assert line.endswith('in.pth has 19 classes and names 2; correct its meta, or remove it')


def test_half_the_space(saved, x39, tmp_path):
    assert main(['convert', str(saved), str(tmp_path / 'out.safetensors'), '--inference', '--half']) == 0
    half = read(tmp_path / 'out.safetensors').state_dict
    expected = {key: value for key, value in x39.items() if not key.startswith('auxiliary_head.')}
    assert same(half, {key: x.half() if x.dtype == torch.float32 else x for key, x in expected.items()})
    model = mmseg_bisenet.get_model(X39, pretrained=tmp_path / 'out.safetensors')
    assert torch.equal(model.decode_head.conv_seg.weight, half[CLASSIFIER].float())


def test_another_number_of_classes(tmp_path, capsys):
    torch.save(filled(CONFIGS[X39], num_classes=7), tmp_path / 'in.pth')
    assert main(['convert', str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth')]) == 0
    out, err = capsys.readouterr()
    assert 'model.num_classes=7' in err and '7 classes' in out
    assert read(tmp_path / 'out.pth').meta['num_classes'] == 7


def test_data_sets_of_the_same_network_are_told_apart_by_their_classes(tmp_path):
    for classes, data in ((19, 'cityscapes'), (11, 'camvid'), (3, 'cityscapes')):
        torch.save(filled(CONFIGS[V2], num_classes=classes), tmp_path / f'{classes}.pth')
        done = convert(tmp_path / f'{classes}.pth', tmp_path / f'{classes}.safetensors')
        assert data in done.config.stem and done.num_classes == classes


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'paddleseg' in name or not STOCK_LIKE.search(name)])
def test_a_config_is_known_again(name, tmp_path):
    """What a Runner saves has the name of its config, and what is converted keeps it, where keys tell no difference."""
    state_dict = filled(CONFIGS[name])
    torch.save({'meta': dict(experiment_name=f'{name}_20240101_120000'), 'state_dict': state_dict}, tmp_path / 'in.pth')
    assert convert(tmp_path / 'in.pth', tmp_path / 'out.safetensors').config == CONFIGS[name]
    assert convert(tmp_path / 'out.safetensors', tmp_path / 'lean.pth', inference=True).config == CONFIGS[name]


def test_an_old_checkpoint_names_its_config(tmp_path):
    """Those of MMSegmentation 0.x have the file of the config, its text, and the classes in ``meta``."""
    name = 'bisenetv2_fcn_4xb8-160k_cityscapes-1024x1024'
    meta = dict(
        exp_name='bisenetv2_fcn_4x8_1024x1024_160k_cityscapes.py',
        config="norm_cfg = dict(type='SyncBN')",
        CLASSES=tuple(map(str, range(19))),
        PALETTE=[[i] * 3 for i in range(19)],
    )
    torch.save({'meta': meta, 'state_dict': filled(CONFIGS[name])}, tmp_path / 'in.pth')
    assert convert(tmp_path / 'in.pth', tmp_path / 'out.pth').config == CONFIGS[name]
    assert read(tmp_path / 'out.pth').dataset_meta == dict(classes=meta['CLASSES'], palette=meta['PALETTE'])


# -- how it is stored --------------------------------------------------------------------------------------------------


def test_to_safetensors_and_back_bit_by_bit(x39, tmp_path):
    odd = {key: value.clone() for key, value in x39.items()}
    odd[CLASSIFIER].view(-1)[:4] = torch.tensor([-0.0, -3.4e38, 1e-38, 1e-45])
    names, colours = [*map(str, range(19))], [[1, 2, 3]] * 19
    torch.save(
        {'state_dict': odd, 'meta': dict(dataset_meta=dict(classes=names, palette=np.array(colours, np.uint8)))},
        tmp_path / 'a.pth',
    )
    convert(tmp_path / 'a.pth', tmp_path / 'b.safetensors')
    convert(tmp_path / 'b.safetensors', tmp_path / 'c.pth')
    convert(tmp_path / 'c.pth', tmp_path / 'd.safetensors')
    for name in ('b.safetensors', 'c.pth', 'd.safetensors'):
        checkpoint = read(tmp_path / name)
        assert same(checkpoint.state_dict, odd)
        assert checkpoint.meta['dataset_meta'] == dict(classes=names, palette=colours)
    assert (tmp_path / 'b.safetensors').read_bytes() == (tmp_path / 'd.safetensors').read_bytes()


def test_tensors_may_share_memory_and_need_not_be_contiguous(x39, tmp_path):
    odd = dict(x39)
    keys = [
        key for key in x39 if key.endswith('arm16.conv_layer.bn.weight') or key.endswith('arm32.conv_layer.bn.weight')
    ]
    odd[keys[1]] = odd[keys[0]]
    key = next(key for key in x39 if key.endswith('conv_head16.conv.weight'))
    odd[key] = x39[key].contiguous(memory_format=torch.channels_last)
    torch.save(odd, tmp_path / 'a.pth')
    convert(tmp_path / 'a.pth', tmp_path / 'b.safetensors')
    assert same(read(tmp_path / 'b.safetensors').state_dict, {key: value.contiguous() for key, value in odd.items()})


@pytest.mark.parametrize('wrapper', ['state_dict', 'model', None])
@pytest.mark.parametrize('prefix', ['module.', ''])
def test_wrappers_are_taken_off(x39, tmp_path, wrapper, prefix):
    state_dict = {f'{prefix}{key}': torch.nn.Parameter(value, False) for key, value in x39.items()}
    torch.save({wrapper: state_dict} if wrapper else state_dict, tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth')
    assert same(read(tmp_path / 'out.pth').state_dict, x39)


def test_training_checkpoints_of_mmengine_are_read(x39, tmp_path):
    hub = MessageHub('convert')
    for value in (3.0, 1.0, 2.5):
        hub.update_scalar('train/loss', value, count=2)
    hub.update_info_dict({'best_score': np.float32(75.25), 'mean': np.float64(0.1), 'step': np.int64(7)})
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    checkpoint = dict(
        meta=dict(epoch=1, iter=10, experiment_name=f'{X39_SPEED}_20240101_120000', seed=1),
        state_dict=x39,
        message_hub=hub.state_dict(),
        optimizer=optimizer.state_dict(),
        param_schedulers=[dict(_global_step=np.int64(3), base_values=[0.1])],
    )
    torch.save(checkpoint, tmp_path / 'iter_10.pth')
    before = torch.serialization.get_safe_globals()
    assert convert(tmp_path / 'iter_10.pth', tmp_path / 'out.pth').config == CONFIGS[X39_SPEED]
    assert set(torch.serialization.get_safe_globals()) == set(before)  # allowed for this file alone
    assert same(read(tmp_path / 'out.pth').state_dict, x39)
    torch.load(tmp_path / 'out.pth', weights_only=True)  # and what was written needs no such thing


# -- bad input ---------------------------------------------------------------------------------------------------------


class Reduced:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def refused(capsys, path: Path, *options: str, target: str = 'out.pth') -> str:
    """Run the command; the one line that it says."""
    files = sorted(path.parent.iterdir())
    assert main(['convert', str(path), str(path.parent / target), *options]) == 2
    out, err = capsys.readouterr()
    assert out == ''
    (line,) = err.splitlines()
    assert sorted(path.parent.iterdir()) == files
    return line.removeprefix('mmseg-bisenet: error: ')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.999])
def test_truncated_file(saved, tmp_path, capsys, suffix, share):
    whole = tmp_path / f'whole{suffix}'
    convert(saved, whole)
    content = whole.read_bytes()
    broken = tmp_path / f'broken{suffix}'
    broken.write_bytes(content[: int(share * len(content))])
    line = refused(capsys, broken)
    assert line.startswith(f'checkpoint {broken} is damaged or no ')
    assert 'weights_only' not in line


@pytest.mark.parametrize(
    ('call', 'name'),
    [
        (Reduced(os.system, 'touch pwned'), f'{os.system.__module__}.system'),
        (Reduced(eval, '1'), 'eval'),
        (Reduced(importlib.import_module, 'os'), 'importlib.import_module'),
        (Reduced(getattr, torch.Tensor, 'untyped_storage'), 'getattr'),
    ],
    ids=['system', 'eval', 'import', 'getattr'],
)
@pytest.mark.parametrize('old_format', [False, True])
def test_pickle_that_calls(x39, tmp_path, capsys, monkeypatch, call, name, old_format):
    monkeypatch.chdir(tmp_path)
    content = {'state_dict': x39, 'meta': call}
    torch.save(content, tmp_path / 'in.pth', _use_new_zipfile_serialization=not old_format)
    line = refused(capsys, tmp_path / 'in.pth')
    assert name in line and 'weights_only' not in line and 'add_safe_globals' not in line
    assert not (tmp_path / 'pwned').exists()


@pytest.mark.parametrize('content', [[1, 2], {}, {'a': 1}, {'state_dict': {'a': 'b'}}, {1: torch.zeros(1)}, 'text'])
def test_file_without_state_dict(tmp_path, capsys, content):
    torch.save(content, tmp_path / 'in.pth')
    assert 'holds no state dict' in refused(capsys, tmp_path / 'in.pth')


def test_another_network(tmp_path, capsys):
    deeplab = {'backbone.stem.0.weight': torch.zeros(1), 'decode_head.aspp_modules.0.conv.weight': torch.zeros(1)}
    torch.save({'state_dict': deeplab}, tmp_path / 'in.pth')
    line = refused(capsys, tmp_path / 'in.pth')
    assert 'is no BiSeNet V1 or V2 of openmmlab, coincheung, torchseg' in line
    assert line.endswith(
        'its keys start with backbone.stem, decode_head.aspp_modules; give a checkpoint of one of them'
    )


def test_long_names_are_shortened(tmp_path, capsys):
    torch.save({'k' * 5000: torch.zeros(1)}, tmp_path / 'in.pth')
    assert main(['convert', str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth')]) == 2
    assert f'its keys start with {"k" * 100}…; give a checkpoint' in capsys.readouterr().err


def test_another_source_than_told(saved, capsys):
    line = refused(capsys, saved, '--source', 'torchseg')
    assert 'is no BiSeNet V1 or V2 of torchseg: its keys start with backbone.context_path' in line


def key_of(state_dict: dict, end: str) -> str:
    return next(key for key in state_dict if key.endswith(end))


def spoil_type(state_dict):
    key = key_of(state_dict, 'stem.conv.weight')
    state_dict[key] = state_dict[key].long()
    return f'1 of another type: {key} torch.int64 instead of torch.float32'


def spoil_counter(state_dict):
    key = key_of(state_dict, 'num_batches_tracked')
    state_dict[key] = state_dict[key].int()
    return f'1 of another type: {key} torch.int32 instead of torch.int64'


def spoil_shape(state_dict):
    key = key_of(state_dict, 'stem.conv.weight')
    state_dict[key] = state_dict[key][:4].clone()
    return f'1 of another shape: {key} (4, 3, 3, 3) instead of (8, 3, 3, 3)'


def spoil_missing(state_dict):
    gone = [key for key in state_dict if key.startswith('backbone.ffm.')]
    for key in gone:
        del state_dict[key]
    return f'{len(gone)} missing: {", ".join(gone[:5])} and {len(gone) - 5} more'


def spoil_classifier(state_dict):
    del state_dict[CLASSIFIER]
    return f'1 missing: {CLASSIFIER}'


def spoil_scalar(state_dict):
    state_dict[CLASSIFIER] = torch.zeros(())
    return f'1 of another shape: {CLASSIFIER} () instead of (19, 64, 1, 1)'


def spoil_booster(state_dict):
    key = key_of(state_dict, 'auxiliary_head.1.conv_seg.bias')
    del state_dict[key]
    return f'1 missing: {key}'


def spoil_strange(state_dict):
    state_dict['backbone.neck.weight'] = state_dict['neck.weight'] = torch.zeros(1)
    return '2 unknown: backbone.neck.weight, neck.weight'


@pytest.mark.parametrize('spoil', [value for name, value in globals().items() if name.startswith('spoil_')])
def test_tensors_that_do_not_fit(x39, tmp_path, capsys, spoil):
    state_dict = copy.copy(x39)
    expected = spoil(state_dict)
    torch.save(state_dict, tmp_path / 'in.pth')
    line = refused(capsys, tmp_path / 'in.pth', target='out.safetensors')
    assert f'does not fit {X39}: {expected};' in line


def test_a_network_of_ones_own_needs_no_conversion(x39, tmp_path, capsys):
    state_dict = copy.copy(x39)
    spoil_scalar(state_dict)
    torch.save({'meta': dict(experiment_name='mine_20240101_120000'), 'state_dict': state_dict}, tmp_path / 'in.pth')
    line = refused(capsys, tmp_path / 'in.pth', target='out.safetensors')
    assert line.endswith(
        '; a checkpoint of a network of your own needs no conversion: use it with the config that trained it'
    )


def test_foreign_keys_are_named_as_the_source_has_them(tmp_path, capsys):
    torch.save(
        {'cp.resnet.conv1.weight': torch.zeros(64, 3, 5, 5), 'sp.x': torch.zeros(1), 'conv_out.y': torch.zeros(1)},
        tmp_path / 'in.pth',
    )
    line = refused(capsys, tmp_path / 'in.pth')
    assert '2 unknown: sp.x, conv_out.y' in line
    assert 'cp.resnet.conv1.weight (64, 3, 5, 5) instead of (64, 3, 7, 7)' in line


def test_targets(saved, tmp_path, capsys):
    (tmp_path / 'there.pth').write_text('mine')
    assert 'there.pth exists already' in refused(capsys, saved, target='there.pth')
    assert (tmp_path / 'there.pth').read_text() == 'mine'
    before = saved.read_bytes()
    line = refused(capsys, saved, '--overwrite', target=saved.name)
    assert f'{saved} is an input of this command, and would be overwritten' in line and saved.read_bytes() == before
    assert 'ends in neither .pth nor .safetensors; name a file of one of these formats' in refused(
        capsys, saved, target='out.onnx'
    )
    (tmp_path / 'file').touch()
    assert f'folder {tmp_path}/file: {tmp_path}/file is no folder' in refused(capsys, saved, target='file/out.pth')
    assert f'checkpoint {tmp_path} is a folder; give the path of a .pth' in refused(capsys, tmp_path)
    assert 'does not exist; give the path' in refused(capsys, tmp_path / 'missing.pth')
    with pytest.raises(SystemExit, match='2'):
        main(['convert', str(saved), str(tmp_path / 'out.pth'), '--source', 'paddle'])


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_full_disk_leaves_nothing(saved, tmp_path, capsys, suffix):
    with largest_file(10_000):
        line = refused(capsys, saved, target=f'out{suffix}')
    assert f'{tmp_path}/out{suffix} cannot be written (File too large); name another place' in line


def test_an_unknown_source():
    wanted = "^source='xyz' is not known; give one of openmmlab, coincheung, torchseg, faceparsing, paddleseg$"
    with pytest.raises(InputError, match=wanted):
        detect(['a'], 'xyz')


def test_unknown_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match='does not exist'):
        read(tmp_path / 'none.safetensors')
