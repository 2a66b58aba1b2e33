"""Errors of users: one line that names the thing and the fix, status 2, and nothing that looks like a result."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
import torch
from mmseg.datasets import CityscapesDataset
from ports import free_ports

from mmseg_bisenet.checkpoints import Checkpoint, write
from mmseg_bisenet.cli import main
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.zoo import get_model

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'


@pytest.fixture
def data(drawn, tmp_path):
    """A copy of the drawn streets, that a test may spoil."""
    return shutil.copytree(drawn, tmp_path / 'data')


def fail(data, tmp_path, *arguments: str) -> str:
    """Run the command in this process; the one line that it says."""
    err = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(err):
        patch.setenv('MMSEG_BISENET_DATA', str(data))
        assert main(arguments) == 2
    assert 'Traceback' not in err.getvalue()
    (line,) = [line for line in err.getvalue().splitlines() if line.startswith('mmseg-bisenet: error: ')]
    assert not list(tmp_path.rglob('*.pth'))
    return line


def train(data, tmp_path, *options: str, config: str = NAME) -> str:
    work_dir = ['--work-dir', str(tmp_path / 'work')]
    return fail(data, tmp_path, 'train', config, *work_dir, *(['--cfg-options', *options] if options else []))


def label(data, change):
    """Change each training label, so that whichever comes first is wrong."""
    for path in data.glob('miniscapes/gtFine/train/*/*_labelTrainIds.png'):
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def test_a_process_of_its_own_ends_with_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mmseg_bisenet.cli', 'test', NAME, str(tmp_path / 'nowhere.pth')],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert 'Traceback' not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith('mmseg-bisenet: error: ')]
    assert 'nowhere.pth does not exist' in line


def test_no_data_folder(tmp_path):
    line = train(tmp_path / 'nowhere', tmp_path)
    assert f'{tmp_path}/nowhere/miniscapes/leftImg8bit/train does not exist' in line
    assert 'MMSEG_BISENET_DATA' in line and 'val_dataloader.dataset.data_root=DIR' in line
    assert not (tmp_path / 'work').exists()


def test_unreadable_image(data, tmp_path):
    for path in data.glob('miniscapes/leftImg8bit/train/*/*.png'):
        path.write_bytes(path.read_bytes()[:100])
    line = train(data, tmp_path)
    assert '_leftImg8bit.png' in line and 'not an image' in line


def test_label_of_another_size(data, tmp_path):
    label(data, lambda labels: labels[:32])
    line = train(data, tmp_path)
    assert '_labelTrainIds.png: the label is 128x32 and its image 128x64' in line


def test_label_outside_the_classes(data, tmp_path):
    label(data, lambda labels: np.full_like(labels, 33))
    line = train(data, tmp_path)
    assert '_labelTrainIds.png: the label has ids 33 outside the 19 classes' in line


def test_the_check_of_labels_follows_the_model(data, tmp_path):
    unnamed = [f'train_dataloader.dataset.{key}' for key in ('type=BaseSegDataset', 'img_suffix=_leftImg8bit.png')]
    unnamed.append('train_dataloader.dataset.seg_map_suffix=_gtFine_labelTrainIds.png')
    line = train(
        data, tmp_path, 'model.num_classes=5', *unnamed, 'val_cfg=None', 'val_dataloader=None', 'val_evaluator=None'
    )
    assert 'outside the 5 classes' in line


def test_train_ids_that_were_not_made(data, tmp_path):
    for path in data.glob('miniscapes/gtFine/train/*/*_labelTrainIds.png'):
        path.unlink()
    line = train(data, tmp_path)
    assert '_labelTrainIds.png: the label cannot be read (no such file)' in line
    assert 'csCreateTrainIdLabelImgs' in line


def test_config_without_num_classes(data, tmp_path):
    line = train(data, tmp_path, 'model.num_classes=None')
    assert 'model.num_classes is missing; set it' in line


@pytest.mark.parametrize('name', ['no-such-config.py', f'typo/{NAME}.py', '**'])
def test_no_such_config(data, tmp_path, name):
    assert f'config {name} is neither a file nor the name of a config' in train(data, tmp_path, config=name)


@pytest.mark.parametrize(
    ('option', 'text'),
    [
        ('param_scheduler.1.end=0', 'param_scheduler.1 cannot be built (ValueError: end should be larger than begin'),
        ('model.num_clases=3', 'model cannot be built (TypeError: '),
        ('train_dataloader.dataset.metainfo.classes=(a,b)', 'train_dataloader.dataset cannot be built (ValueError: '),
        ('randomness.seed=abc', "randomness.seed is 'abc'; give a whole number from 0"),
        ('model.decode_head.in_channels=32', 'model.decode_head fails (RuntimeError: Given groups=1, weight of size'),
        ('model.decode_head.sampler.type=OHEMPixelSampler', 'BiSeNetHead.sampler: the losses of mmseg_bisenet take no'),
        (
            'train_dataloader.dataset.indices=[99]',
            'train_dataloader.dataset.indices lists images that it does not have',
        ),
        ('train_cfg=None', 'the config has no train_cfg; take one of configs/_base_/schedules'),
    ],
)
def test_what_cannot_be_built_is_named(data, tmp_path, option, text):
    line = train(data, tmp_path, option)
    assert text in line and len(line) < 400


def test_a_hook_that_cannot_start_is_named(data, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = {str(find_config(NAME))!r}\ncustom_hooks = [dict(type='EMAHook', momentum=5)]")
    line = train(data, tmp_path, config=str(config))
    assert 'custom_hooks.0 (EMAHook) fails (AssertionError: momentum must be in range' in line
    assert line.endswith('; fix custom_hooks.0 in the config, or with --cfg-options')


@pytest.mark.parametrize('key', ['test_cfg', 'test_evaluator'])
def test_a_test_without_its_fields(data, tmp_path, key):
    (tmp_path / 'some').touch()
    line = fail(data, tmp_path, 'test', NAME, str(tmp_path / 'some'), '--cfg-options', f'{key}=None')
    assert f'the config has no {key}; take one of configs/_base_/datasets among its bases' in line


def test_config_without_data(data, tmp_path):
    line = train(data, tmp_path, 'train_dataloader=None')
    assert 'the config has no train_dataloader.dataset' in line


def test_a_checkpoint_of_another_network(data, tmp_path):
    torch.save({'state_dict': {'backbone.conv1.weight': torch.zeros(1)}}, tmp_path / 'deeplab.ckpt')
    line = fail(data, tmp_path, 'test', NAME, str(tmp_path / 'deeplab.ckpt'), '--out', str(tmp_path / 'labels') + '/')
    assert 'deeplab.ckpt is not of this config' in line and '1 unexpected: backbone.conv1.weight' in line
    assert line.endswith('; mmseg-bisenet convert reads those of other codebases, and writes one that fits')
    assert not list(tmp_path.glob('*labels*'))


@pytest.mark.parametrize('options', [[], ['--aug-test'], ['--keep-going'], ['--out', 'labels']])
def test_config_whose_test_data_are_deleted(data, tmp_path, options):
    config = tmp_path / 'mine.py'
    config.write_text(f'_base_ = {str(find_config(NAME))!r}\ntest_dataloader = dict(_delete_=True)')
    (tmp_path / 'some').touch()
    line = fail(data, tmp_path, 'test', str(config), str(tmp_path / 'some'), *options)
    assert 'the config has no test_dataloader.dataset; take one of configs/_base_/datasets among its bases' in line
    assert get_model(config).dataset_meta['classes'][0] == '0'


def test_a_head_that_reads_no_output(data, tmp_path):
    option, text = (
        'model.decode_head.in_index=9',
        'model.decode_head.in_index is 9, and the backbone has 5 outputs; give',
    )
    assert text in train(data, tmp_path, option)
    arguments = ['--shape', '64', '64', '--images', '1', '--vs', 'none', '--cfg-options', option]
    assert text in fail(data, tmp_path, 'benchmark', NAME, *arguments)
    (tmp_path / 'mine.py').write_text(
        f'_base_ = {str(find_config(NAME))!r}\nmodel = dict(decode_head=dict(in_index=5))'
    )
    with pytest.raises(InputError, match=r'^config: model.decode_head.in_index is 5, and the backbone has 5 outputs'):
        get_model(tmp_path / 'mine.py')


def test_config_that_does_not_parse(data, tmp_path):
    (tmp_path / 'broken.py').write_text('model = dict(')
    line = train(data, tmp_path, config=str(tmp_path / 'broken.py'))
    assert 'broken.py cannot be read' in line


def test_a_config_base_is_no_config(data, tmp_path, configs):
    line = train(data, tmp_path, config=str(configs / '_base_/default_runtime.py'))
    assert 'default_runtime.py has no `model`' in line


def test_no_such_checkpoint(data, tmp_path):
    assert 'nowhere.pth does not exist' in fail(data, tmp_path, 'test', NAME, str(tmp_path / 'nowhere.pth'))


# -- before anything is written ----------------------------------------------------------------------------------------


@pytest.fixture
def refused(data, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; the one line that it says."""
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(data))

    def refused(*arguments: str | Path) -> str:
        assert main([*map(str, arguments), '--work-dir', str(tmp_path / 'work')]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('mmseg-bisenet: error: ')]
        assert not (tmp_path / 'work').exists()
        return line

    return refused


@pytest.fixture(scope='module')
def trained() -> dict[str, torch.Tensor]:
    return get_model(str(find_config(NAME))).state_dict()


@pytest.fixture
def checkpoint(trained, tmp_path):
    """Writes a checkpoint of the network, with other classes if told."""

    def save(num_classes: int = 19, **meta) -> Path:
        heads = {key: value[:num_classes] for key, value in trained.items() if '.conv_seg.' in key}
        write(tmp_path / 'some.ckpt.pth', Checkpoint(trained | heads, meta))
        return (tmp_path / 'some.ckpt.pth').rename(tmp_path / 'some.ckpt')

    return save


def test_a_damaged_checkpoint(refused, tmp_path):
    (tmp_path / 'some.safetensors').touch()
    assert 'some.safetensors is damaged or no safetensors file' in refused('test', NAME, tmp_path / 'some.safetensors')


def test_a_checkpoint_of_another_number_of_classes(refused, checkpoint):
    path = checkpoint(11)
    line = refused('test', NAME, path)
    assert f'checkpoint {path} has 11 classes, and the config 19; give the config that trained it' in line


def test_a_checkpoint_of_classes_of_other_names(refused, checkpoint):
    classes = [*CityscapesDataset.METAINFO['classes']]
    classes[3], classes[4] = classes[4], classes[3]
    path = checkpoint(dataset_meta=dict(classes=tuple(classes)))
    line = refused('test', NAME, path)
    assert f'class 3 of checkpoint {path} is fence, and wall in the data set; give the config' in line
    assert 'or set test_dataloader.dataset.metainfo.classes in the order of the weights' in line


class Files(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, text: str, *values) -> None:
        self.asked.append(self.path)


@pytest.fixture
def url(tmp_path, monkeypatch) -> Iterator[str]:
    """Where the files of ``tmp_path`` are served; nothing was fetched before."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(Files, 'asked', [])
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Files, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_a_url_is_checked_as_a_file_is(refused, checkpoint, url, tmp_path):
    (tmp_path / 'other').mkdir()
    checkpoint(11).rename(tmp_path / 'other' / 'some.ckpt')
    line = refused('test', NAME, f'{url}/other/some.ckpt')
    assert 'some.ckpt has 11 classes, and the config 19; give the config that trained it' in line
    line = refused('test', NAME, f'{url}/nowhere.pth')
    assert f'checkpoint {url}/nowhere.pth cannot be fetched (HTTP Error 404: File not found); fetch it by' in line


def test_a_url_is_fetched_once(data, checkpoint, url, tmp_path, monkeypatch):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(data))
    path = checkpoint()
    options = ['--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
    for _ in range(2):
        assert main(['test', NAME, f'{url}/some.ckpt', '--work-dir', str(tmp_path / 'work'), *options]) == 0
    tested = json.loads((tmp_path / 'work/evaluation/scores.json').read_text())['checkpoint']
    assert Path(tested).read_bytes() == path.read_bytes()
    assert [file for file in tmp_path.rglob('*some.ckpt*') if file != path] == [Path(tested)]
    assert Files.asked == ['/some.ckpt']


def test_a_checkpoint_that_names_fewer_classes(refused, checkpoint):
    path = checkpoint(CLASSES=['sky', 'building'])
    line = refused('test', NAME, path)
    assert f'checkpoint {path} has 2 classes, and test_dataloader.dataset has 19' in line


@pytest.mark.parametrize('command', ['train', 'test'])
def test_data_of_other_classes_than_the_model(refused, checkpoint, command):
    path = [checkpoint()] if command == 'test' else []
    line = refused(command, NAME, *path, '--cfg-options', 'model.num_classes=11')
    assert f'{command}_dataloader.dataset has 19 classes, and model.num_classes is 11; set it to 19' in line


@pytest.mark.parametrize('which', ['train', 'val'])
def test_data_sets_of_other_names(refused, tmp_path, which):
    classes = [*CityscapesDataset.METAINFO['classes']]
    classes[3], classes[4] = classes[4], classes[3]
    own = f"_base_ = '{find_config(NAME)}'\n{which}_dataloader = dict(dataset=dict(metainfo=dict(classes={classes})))\n"
    (tmp_path / 'own.py').write_text(own)
    line = refused('train', tmp_path / 'own.py')
    first, second = ('fence', 'wall') if which == 'train' else ('wall', 'fence')
    assert f'class 3 is {first} in train_dataloader.dataset and {second} in val_dataloader.dataset; set' in line


@pytest.mark.parametrize('which', ['train', 'val'])
def test_data_sets_whose_ids_are_moved(refused, which):
    line = refused('train', NAME, '--cfg-options', f'{which}_dataloader.dataset.reduce_zero_label=True')
    first, second = which == 'train', which == 'val'
    said = f'reduce_zero_label is {first} in train_dataloader.dataset and {second} in val_dataloader.dataset, so their'
    assert said in line


def test_a_test_whose_ids_are_not_those_of_the_training(refused, tmp_path):
    (tmp_path / 'some.pth').touch()
    line = refused(
        'test', NAME, tmp_path / 'some.pth', '--cfg-options', 'test_dataloader.dataset.reduce_zero_label=True'
    )
    assert (
        'reduce_zero_label is False in train_dataloader.dataset and True in test_dataloader.dataset, so their' in line
    )


def test_a_data_set_that_names_a_class_twice(refused):
    key = 'train_dataloader.dataset'
    classes = f'metainfo.classes=({",".join("abcdefghijklmnopqra")})'
    changes = [f'{key}.{change}' for change in ('type=BaseSegDataset', 'img_suffix=_leftImg8bit.png', classes)]
    line = refused('train', NAME, '--cfg-options', *changes)
    assert f"{key}.metainfo names the class 'a' more than once; fix it" in line


def test_a_list_that_is_a_pipe(refused, tmp_path):
    os.mkfifo(tmp_path / 'list.txt')
    line = refused('train', NAME, '--cfg-options', f'train_dataloader.dataset.ann_file={tmp_path}/list.txt')
    assert f'{tmp_path}/list.txt is a pipe or a device; save what it gives to a file' in line


@pytest.mark.parametrize('command', ['train', 'test'])
def test_no_image_of_that_name(refused, checkpoint, data, command):
    path = [checkpoint()] if command == 'test' else []
    line = refused(command, NAME, *path, '--cfg-options', f'{command}_dataloader.dataset.img_suffix=.jpg')
    folder = data / 'miniscapes' / 'leftImg8bit' / ('train' if command == 'train' else 'val')
    assert f'{command}_dataloader.dataset has no image: no file in {folder} ends in .jpg; fix its img_suffix' in line


def test_a_list_without_images(refused, checkpoint, tmp_path):
    (tmp_path / 'none.txt').touch()
    line = refused('test', NAME, checkpoint(), '--cfg-options', f'test_dataloader.dataset.ann_file={tmp_path}/none.txt')
    assert f'test_dataloader.dataset has no image: {tmp_path}/none.txt lists none' in line


def test_a_list_with_an_image_twice(refused, checkpoint, data, tmp_path):
    (tmp_path / 'list.txt').write_text('a/b\nc\n ./a/b \n')
    line = refused('test', NAME, checkpoint(), '--cfg-options', f'test_dataloader.dataset.ann_file={tmp_path}/list.txt')
    image = data / 'miniscapes/leftImg8bit/val/a/b_leftImg8bit.png'
    assert f'test_dataloader.dataset.ann_file: {tmp_path}/list.txt lists {image} 2 times; list it once' in line


def test_a_list_with_an_empty_line(refused, checkpoint, tmp_path):
    (tmp_path / 'list.txt').write_text('a/b\n\n')
    line = refused('test', NAME, checkpoint(), '--cfg-options', f'test_dataloader.dataset.ann_file={tmp_path}/list.txt')
    assert f'test_dataloader.dataset.ann_file: {tmp_path}/list.txt has an empty line; remove it' in line


@pytest.mark.parametrize('command', ['train', 'test'])
def test_a_list_that_is_not_there(refused, checkpoint, tmp_path, command):
    path = [checkpoint()] if command == 'test' else []
    line = refused(
        command, NAME, *path, '--cfg-options', f'{command}_dataloader.dataset.ann_file={tmp_path}/nowhere.txt'
    )
    assert f'{command}_dataloader.dataset.ann_file: {tmp_path}/nowhere.txt does not exist; fix it' in line


@pytest.mark.parametrize('key', ['tta_pipeline', 'tta_model'])
@pytest.mark.parametrize('others', [[], ['test_evaluator.format_only=True']])
def test_no_views_to_test_on(refused, checkpoint, tmp_path, key, others):
    options = ['--aug-test', '--out', tmp_path / 'labels', '--cfg-options', f'{key}=None', *others]
    assert f'--aug-test: the config has no {key}; test without it' in refused('test', NAME, checkpoint(), *options)


def test_a_pipeline_that_views_do_not_take(refused, checkpoint):
    key = 'test_dataloader.dataset.pipeline.1.scale'
    line = refused('test', NAME, checkpoint(), '--aug-test', '--cfg-options', f'{key}=(64,32)')
    assert (
        f'--aug-test reads images by tta_pipeline, and {key} changes nothing; set scale, as in scale="(1024,512)"'
        in line
    )


def test_an_empty_folder(refused, checkpoint, data):
    shutil.rmtree(data / 'miniscapes/leftImg8bit/val')
    (data / 'miniscapes/leftImg8bit/val').mkdir()
    assert 'miniscapes/leftImg8bit/val is empty; make or link' in refused('test', NAME, checkpoint())


@pytest.mark.parametrize('backend', ['svg', 'tkagg'])
def test_no_window_to_show_in(refused, checkpoint, monkeypatch, backend):
    """Matplotlib takes agg instead of a toolkit that has no display, and shows nothing."""
    monkeypatch.setenv('MPLBACKEND', backend)
    monkeypatch.setenv('DISPLAY', ':99')
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    reason = 'Matplotlib uses (svg|agg), which opens none: it needs a display, and a toolkit such as tkinter'
    line = refused('test', NAME, checkpoint(), '--show')
    assert re.search(rf'--show cannot open a window \({reason}\); use --show-dir DIR$', line)


@pytest.mark.parametrize('option', ['--show', '--show-dir pictures'])
def test_pictures_of_several_processes(refused, checkpoint, monkeypatch, option):
    (port,) = free_ports(1)
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=port).items():
        monkeypatch.setenv(name, str(value))
    line = refused('test', NAME, checkpoint(), '--launcher', 'pytorch', *option.split())
    assert f'{option.split()[0]} draws the images of one process only; test without --launcher to draw all' in line


@pytest.mark.parametrize('option', ['--out', '--show-dir'])
def test_a_file_in_the_place_of_a_folder(refused, checkpoint, option):
    path = checkpoint()
    assert f'{option} {path}/labels: {path} is no folder' in refused('test', NAME, path, option, path / 'labels')


def test_predictions_are_not_written_over_others(refused, checkpoint, tmp_path):
    (tmp_path / 'labels' / 'mine').mkdir(parents=True)
    assert 'labels exists already; name a new folder with --out, or remove it' in refused(
        'test', NAME, checkpoint(), '--out', tmp_path / 'labels'
    )


def test_two_folders_for_predictions(refused, checkpoint, tmp_path):
    line = refused('test', NAME, checkpoint(), '--out', tmp_path / 'a', '--cfg-options', 'test_evaluator.output_dir=b')
    assert f'--out {tmp_path}/a and test_evaluator.output_dir=b are two folders; leave one out' in line


def test_two_starts(refused, tmp_path, capsys):
    line = refused('train', NAME, '--from', 'b.pth', '--cfg-options', 'load_from=a.pth')
    assert '--from and --cfg-options load_from both say where to start; leave one of them out' in line
    (tmp_path / 'own.py').write_text(f"_base_ = '{find_config(NAME)}'\nload_from = 'a.pth'\n")
    assert main(['train', str(tmp_path / 'own.py'), '--from', 'b.pth', '--work-dir', str(tmp_path / 'work')]) == 2
    assert 'note: --from replaces load_from=a.pth of the config\n' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['train', 'test'])
def test_classes_of_a_check_of_labels(refused, checkpoint, command):
    steps = f'{command}_dataloader.dataset.pipeline'
    load = {'train': 1, 'test': 2}[command]
    path = [checkpoint()] if command == 'test' else []
    line = refused(command, NAME, *path, '--cfg-options', f'{steps}.{load}.num_classes=4')
    said = f'--cfg-options {steps}.{load}.num_classes=4: labels are checked for the 19 classes of the model; set model.'
    assert said in line
