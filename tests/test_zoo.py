"""Names from the index, and what a network by name is: built, loaded and run, whatever the caller has set."""

import copy
import hashlib
import logging
import pickle
import subprocess
import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from base import count, images, randomise
from mmengine.registry import DefaultScope
from mmseg.apis import inference_model
from torch import nn

import mmseg_bisenet
from benchmarks.complexity import network
from mmseg_bisenet import model_index
from mmseg_bisenet.checkpoints import Checkpoint, write
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.palette import distinct
from mmseg_bisenet.zoo import get_model

ROOT = Path(__file__).resolve().parents[1]
NAMES = model_index.list_models()
NETWORKS = {network(name).removesuffix('-in1k-pre'): name for name in reversed(NAMES)}
V2 = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
R18 = 'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'


# -- the index ---------------------------------------------------------------------------------------------------------


def test_lists_the_names_of_the_index():
    files = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    names = [model['Name'] for file in files for model in yaml.safe_load((ROOT / file).read_text())['Models']]
    assert mmseg_bisenet.list_models() == names
    assert mmseg_bisenet.list_models('*v1_r50*coco*') == [name for name in names if 'v1_r50' in name and 'coco' in name]
    assert mmseg_bisenet.list_models(V2) == [V2]
    assert mmseg_bisenet.list_models('deeplab*') == []
    with pytest.raises(InputError, match=r"^pattern=5: give a text such as '\*v2\*'$"):
        mmseg_bisenet.list_models(5)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=rf"'{V2}s' is not in the model index; the nearest names are {V2}, .*list_mod"):
        mmseg_bisenet.get_model(f'{V2}s')


def test_arguments_of_a_wrong_type():
    with pytest.raises(
        InputError, match=r'^model of type int: give a name of the model index, or the path of a config$'
    ):
        get_model(5)
    with pytest.raises(InputError, match=r"^boosters='no': give True or False$"):
        get_model(V2, boosters='no')
    with pytest.raises(InputError, match=r'^pretrained=5: give True, False or the path of a checkpoint$'):
        get_model(V2, 5)


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match=r"^device 'cuda:1': PyTorch sees no GPU; install its build for CUDA, or give"):
        mmseg_bisenet.get_model(V2, device=torch.device('cuda', 1))


def test_the_index_is_found_in_a_wheel_and_in_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(model_index, '__file__', str(tmp_path / 'package' / 'model_index.py'))
    (tmp_path / 'package' / '.mim').mkdir(parents=True)
    with pytest.raises(InputError, match=r'no model-index\.yml in .*reinstall'):
        model_index.folder()
    (tmp_path / 'model-index.yml').touch()
    assert model_index.folder() == tmp_path
    (tmp_path / 'package' / '.mim' / 'model-index.yml').touch()
    assert model_index.folder() == tmp_path / 'package' / '.mim'


def test_names_are_listed_without_the_stack():
    code = 'import sys, mmseg_bisenet; mmseg_bisenet.list_models(); sys.exit("mmseg" in sys.modules)'
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match='no attribute'):
        mmseg_bisenet.get_models  # noqa: B018


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', NAMES)
def test_every_model_is_built_and_runs(name):
    model = get_model(name)
    assert not model.training and not model.with_auxiliary_head
    assert count(model, nn.SyncBatchNorm) == 0
    norms = count(model, nn.BatchNorm2d)
    assert norms == 29 if 'r18-d32-faceparsing' in name else norms > 30  # it has no spatial path
    # Random, but no weights of somebody else's are left to fetch.
    assert 'Pretrained' not in str([getattr(module, 'init_cfg', None) for module in model.modules()])
    assert len(model.dataset_meta['classes']) == len(model.dataset_meta['palette']) == model.num_classes
    with torch.no_grad():
        logits = model(images(1, (95, 127)))
        assert logits.shape == (1, model.num_classes, 12, 16)
        assert logits.isfinite().all() and logits.std() > 0
        if name in NETWORKS.values():  # seconds for the largest: once a network
            assert model(images(1, (256, 512))).shape == (1, model.num_classes, 32, 64)


def test_a_config_of_ones_own_is_taken_by_its_path(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = '{model_index.find(V2).config}'\nmodel = dict(num_classes=3)\n")
    model = get_model(str(config))
    assert model.num_classes == 3
    torch.save(model.state_dict(), tmp_path / 'mine.pth')
    loaded = get_model(str(config), pretrained=tmp_path / 'mine.pth')
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    with pytest.raises(InputError, match='no weights'):
        get_model(str(config), pretrained=True)


def test_weights_without_boosters():
    said = r'does not fit: 56 missing: aux.* and 51 more; leave boosters=True out, for these weights have none$'
    with pytest.raises(InputError, match=said):
        get_model('bisenetv2_camvid', pretrained=True, boosters=True)


def test_boosters_are_kept_on_demand():
    model = get_model(V2, boosters=True)
    assert len(model.auxiliary_head) == 4
    assert count(model, nn.SyncBatchNorm) == 0


def test_weights_are_initialised_once_as_the_config_says():
    """A Runner initialises each model that it gets; weights that are loaded already must stay."""
    model = get_model(V2)
    assert 0.009 < model.decode_head.conv_seg.weight.std() < 0.011  # as MMSegmentation's heads; PyTorch has 0.018
    before = copy.deepcopy(model.state_dict())
    model.init_weights()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_nothing_is_said_about_building(caplog, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        get_model(R18)
    assert not caplog.records
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('scope', [None, 'mmengine'])
def test_runs_on_images_in_any_scope_and_leaves_it(scope, monkeypatch, tmp_path):
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    if scope:
        DefaultScope.get_instance('callers', scope_name=scope)
    model = randomise(get_model(V2, num_classes=7))
    assert list(DefaultScope._instance_dict) == (['callers'] if scope else [])

    model.cfg.test_pipeline[1].scale = (128, 64)  # the config's is 2048x1024
    image = np.random.RandomState(0).randint(0, 256, (64, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'street.png'), image)
    from_file = inference_model(model, str(tmp_path / 'street.png')).pred_sem_seg.data
    from_array = inference_model(model, image).pred_sem_seg.data
    assert from_file.shape == (1, 64, 128)
    assert torch.equal(from_file, from_array)
    assert len(from_file.unique()) > 1


def test_classes_have_names_and_colours():
    meta = get_model(R18).dataset_meta
    assert (meta['classes'][0], meta['palette'][0]) == ('road', [128, 64, 128])
    meta = get_model(R18, num_classes=3).dataset_meta
    assert meta['classes'] == ('0', '1', '2')
    assert np.shape(meta['palette']) == (3, 3)


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def trained() -> nn.Module:
    """A network with its boosters."""
    return randomise(get_model(V2, boosters=True))


@pytest.fixture
def save(tmp_path):
    def save(state_dict: dict, ending: str = '.pth', **meta) -> Path:
        path = tmp_path / f'trained{ending}'
        path.unlink(missing_ok=True)
        if ending == '.pth':  # `write` refuses what some tests need
            torch.save(dict(state_dict=state_dict, meta=meta), path)
        else:
            write(path, Checkpoint(state_dict, meta))
        return path

    return save


@pytest.mark.parametrize(('kind', 'ending'), [(str, '.pth'), (Path, '.safetensors')])
def test_a_file_of_weights_comes_back(trained, save, kind, ending, caplog):
    path = save(trained.state_dict(), ending)
    model = get_model(V2, pretrained=kind(path), boosters=True)
    torch.testing.assert_close(model.state_dict(), trained.state_dict(), rtol=0, atol=0)
    lean = get_model(V2, pretrained=kind(path))
    assert not any('auxiliary' in key for key in lean.state_dict())
    for key, value in lean.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])
    assert not caplog.records


def test_a_bare_state_dict_is_a_file_of_weights(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / 'bare.pth')
    model = get_model(V2, pretrained=tmp_path / 'bare.pth')
    assert torch.equal(model.decode_head.conv_seg.weight, trained.decode_head.conv_seg.weight)


@pytest.mark.parametrize('boosters', [False, True])
def test_other_classes_keep_everything_but_the_classifiers(trained, save, boosters, caplog):
    model = get_model(V2, pretrained=save(trained.state_dict()), num_classes=5, boosters=boosters)
    heads = ['decode_head', *(f'auxiliary_head.{i}' for i in range(4 if boosters else 0))]
    anew = {f'{head}.conv_seg.{kind}' for head in heads for kind in ('weight', 'bias')}
    for key, value in model.state_dict().items():
        if key in anew:
            assert len(value) == 5
        else:
            assert torch.equal(value, trained.state_dict()[key]), key
    assert 0.005 < model.decode_head.conv_seg.weight.std() < 0.015
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said, _, keys = record.getMessage().rpartition(': ')
    assert said.startswith('re-initialised for 5 classes, as ') and said.endswith(' has 19')
    assert set(keys.split(', ')) == anew


def test_weights_of_the_wanted_classes_are_kept(save, caplog):
    five = randomise(get_model(V2, num_classes=5))
    path = save(five.state_dict(), dataset_meta=dict(classes=tuple('abcde'), palette=[[0, 0, 0]] * 5))
    model = get_model(V2, pretrained=path, num_classes=5)
    torch.testing.assert_close(model.state_dict(), five.state_dict(), rtol=0, atol=0)
    assert model.dataset_meta['classes'] == ('a', 'b', 'c', 'd', 'e')
    assert not caplog.records


def test_names_of_classes_in_old_files_are_read(trained, save):
    path = save(trained.state_dict(), CLASSES=tuple('abcdefghijklmnopqrs'), PALETTE=[[1, 2, 3]] * 19)
    assert get_model(V2, pretrained=path).dataset_meta['classes'][-1] == 's'


@pytest.mark.parametrize('palette', [{}, dict(palette=None), dict(palette=[])])
def test_names_without_colours(trained, save, palette):
    names = tuple(f'a{i}' for i in range(19))
    meta = get_model(V2, pretrained=save(trained.state_dict(), dataset_meta=dict(classes=names) | palette)).dataset_meta
    assert meta == dict(classes=names, palette=distinct(19))
    usual = get_model(V2).dataset_meta
    path = save(trained.state_dict(), dataset_meta=dict(classes=usual['classes']) | palette)
    assert get_model(V2, pretrained=path).dataset_meta == usual


@pytest.mark.parametrize('name', ['', ' ', 'a\nb'])
def test_names_that_cannot_be_shown_are_refused(trained, save, name):
    path = save(trained.state_dict(), dataset_meta=dict(classes=(name, *'abcdefghijklmnopqr')))
    with pytest.raises(InputError, match=r'names a class .*, which is blank or has control characters; save it'):
        get_model(V2, pretrained=path)


def test_names_of_other_classes_are_refused(trained, save):
    path = save(trained.state_dict(), dataset_meta=dict(classes=('road', 'sky'), palette=[[1, 2, 3]] * 2))
    with pytest.raises(InputError, match=r'has 19 classes and names 2; correct its meta, or remove it$'):
        get_model(V2, pretrained=path)


def test_a_file_that_does_not_fit_is_refused(trained, save):
    lean = {key: value for key, value in trained.state_dict().items() if 'auxiliary' not in key}
    first, second = list(lean)[:2]

    def refused(state_dict: dict, match: str, **options) -> None:
        with pytest.raises(InputError, match=match) as error:
            get_model(V2, pretrained=save(state_dict), **options)
        assert '\n' not in str(error.value)

    refused({key: value for key, value in lean.items() if key != first}, f'1 missing: {first}; name the model')
    refused(lean | {'backbone.neck': torch.zeros(1)}, r'1 unexpected: backbone\.neck;')
    refused(lean | {second: torch.zeros(3)}, rf'1 of another shape: {second} \(3,\) instead of \(64,\)')
    refused(lean, r'missing: auxiliary_head\.0\.conv_seg\.weight.* and \d+ more;', boosters=True)
    five = {key: value[:5] if '.conv_seg.' in key else value for key, value in lean.items()}
    refused(
        five,
        r'2 of another shape: decode_head\.conv_seg\.weight \(5, 1024, 1, 1\).*name the config .* with num_classes',
    )
    wide = lean | {'decode_head.conv_seg.weight': torch.zeros(19, 256, 1, 1)}
    refused(wide, r'decode_head\.conv_seg\.weight \(19, 256, 1, 1\)', num_classes=5)
    refused(
        get_model(R18).state_dict(), r'missing: .*unexpected: backbone\.context_path.* and \d+ more; .*; name the model'
    )


class Forbidden:
    def __reduce__(self):
        return print, ('this must not run',)


def test_a_file_that_is_no_checkpoint_is_refused(trained, save, tmp_path, capfd):
    path = save(trained.state_dict())
    (tmp_path / 'half.pth').write_bytes(path.read_bytes()[:100_000])
    (tmp_path / 'text.pth').write_text('not a checkpoint')
    (tmp_path / 'evil.pth').write_bytes(pickle.dumps(Forbidden()))
    torch.save(dict(state_dict=dict(weight='heavy')), tmp_path / 'words.pth')
    torch.save([torch.zeros(1)], tmp_path / 'list.pth')
    for name in ('half', 'text', 'evil', 'words', 'list', 'none'):
        with pytest.raises(
            InputError, match=rf'checkpoint .*{name}\.pth (is damaged|is refused|holds no|does not exist)'
        ) as error:
            get_model(V2, pretrained=tmp_path / f'{name}.pth')
        assert '\n' not in str(error.value)
    assert 'must not run' not in capfd.readouterr().out


@pytest.fixture
def published(trained, tmp_path, monkeypatch):
    """Puts a model of these weights into an index of its own."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(model_index, 'folder', lambda: tmp_path)

    def publish(weights: str | None) -> None:
        model = dict(Name='ours', Config=str(ROOT / f'configs/bisenetv2/{V2}.py'))
        (tmp_path / 'metafile.yaml').write_text(
            yaml.safe_dump(dict(Models=[model | ((weights and {'Weights': weights}) or {})]))
        )
        (tmp_path / 'model-index.yml').write_text('Import: [metafile.yaml]')

    return publish


def test_weights_of_the_index_are_fetched_once_and_checked(trained, tmp_path, published):
    buffer = tmp_path / 'buffer'
    torch.save(trained.state_dict(), buffer)
    digest = hashlib.sha256(buffer.read_bytes()).hexdigest()[:8]
    right, wrong = buffer.rename(tmp_path / f'r18-d32_x-{digest}.pth'), tmp_path / 'r18-d32_x-01234567.pth'
    wrong.write_bytes(right.read_bytes())
    published(right.as_uri())
    for _ in range(2):
        model = mmseg_bisenet.get_model('ours', pretrained=True)
        assert torch.equal(model.decode_head.conv_seg.weight, trained.decode_head.conv_seg.weight)
        right.unlink(missing_ok=True)
    published(wrong.as_uri())
    with pytest.raises(InputError, match=r'01234567\.pth cannot be fetched \(invalid hash.*by other means'):
        get_model('ours', pretrained=True)
    published((tmp_path / 'absent.pth').as_uri())
    with pytest.raises(InputError, match=r'absent\.pth cannot be fetched'):
        get_model('ours', pretrained=True)


def test_a_model_without_weights_says_so(published):
    published(None)
    assert get_model('ours').num_classes == 19
    with pytest.raises(InputError, match='model ours has no weights in the model index; train its config, or give'):
        get_model('ours', pretrained=True)
