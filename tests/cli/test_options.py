"""Options that all commands on a config share: named sizes reach the pipelines."""

import argparse
import re
from pathlib import Path

import pytest
from mmengine.config import Config

import mmseg_bisenet
from mmseg_bisenet import model_index
from mmseg_bisenet.cli import main, options
from mmseg_bisenet.errors import InputError

CITYSCAPES = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'


def load(name: str, *changes: str) -> Config:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return options.load(parser.parse_args([name, *(['--cfg-options', *changes] if changes else [])]))


def steps(pipeline: list) -> dict:
    return {step.type.rpartition('.')[2]: step for step in pipeline}


@pytest.mark.parametrize('name', [CITYSCAPES, 'bisenetv1_r18-d32_1xb8-400it_camvid-176x240'])
def test_a_named_crop_reaches_pipeline_and_preprocessor(name):
    cfg = load(name, 'crop_size=(96,64)')
    assert cfg.crop_size == cfg.model.data_preprocessor.size == (96, 64)
    crop = steps(cfg.train_dataloader.dataset.pipeline)['RandomResizedCrop']
    assert crop.crop_size == (96, 64)
    assert crop.scale == load(name).scale  # which was not changed


def test_a_named_scale_reaches_every_pipeline():
    cfg = load(CITYSCAPES, 'scale=(1024,512)')
    assert steps(cfg.train_dataloader.dataset.pipeline)['RandomResizedCrop'].scale == (1024, 512)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert steps(loader.dataset.pipeline)['Resize'].scale == (1024, 512)
    views = cfg.tta_pipeline[1].transforms[0]
    assert [view.scale for view in views] == [
        (512, 256), (768, 384), (1024, 512), (1280, 640), (1536, 768), (1792, 896)
    ]  # fmt: skip
    assert all('scale_factor' not in view for view in views)


def test_a_variable_of_the_same_name_may_be_a_number(tmp_path):
    """In a config of a user, ``scale`` may mean something else."""
    path = tmp_path / 'own.py'
    path.write_text("scale = 0.5\nmodel = dict(type='EncoderDecoder')\n")
    assert load(str(path)).scale == 0.5
    assert load(str(path), 'scale=2').scale == 2


def test_other_scales_stay():
    """The crop of V1's authors has a fixed scale; only what had the value of the name follows it."""
    before, after = (load(CITYSCAPES, *changes) for changes in ([], ['scale=(2048,1024)', 'crop_size=(1024,1024)']))
    assert before.train_dataloader.to_dict() == after.train_dataloader.to_dict()
    assert before.test_dataloader.to_dict() == after.test_dataloader.to_dict()


def test_a_model_of_the_index_brings_its_weights(tmp_path):
    def find(config: str, checkpoint: str | None = None) -> str:
        return options.find_checkpoint(argparse.Namespace(config=config, checkpoint=checkpoint))

    assert Path(find('bisenetv2_camvid')) == model_index.find('bisenetv2_camvid').weights
    assert find(CITYSCAPES) == model_index.find(CITYSCAPES).weights and find(CITYSCAPES).startswith('https://')
    assert find(CITYSCAPES, 'mine.pth') == find('mine.py', 'mine.pth') == 'mine.pth'
    with pytest.raises(InputError, match=r'mine\.py is no name of the model index, whose weights are known; give a ch'):
        find('mine.py')
    unpublished = next(entry.name for entry in model_index.entries().values() if entry.weights is None)
    with pytest.raises(InputError, match=f'model {unpublished} has no weights in the model index; train its config'):
        find(unpublished)


def test_an_unknown_config_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r'bisenetv2_camvit is neither .*; the nearest names are bisenetv2_camvid, '):
        model_index.find_config('bisenetv2_camvit')


@pytest.mark.parametrize(
    ('arguments', 'option', 'other'),
    [
        (['train', CITYSCAPES, '--amp-dtype', 'bfloat16'], '--amp-dtype', '--amp'),
        (['test', 'bisenetv2_camvid', '--wait-time', '0', '--show-dir', 'pictures'], '--wait-time', '--show'),
    ],
)
def test_an_option_that_needs_another(arguments, option, other, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err == (
        f'mmseg-bisenet: error: {option} changes nothing without {other}; add {other}, or leave {option} out\n'
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'option', 'where'),
    [
        (['test', 'bisenetv2_camvid'], 'crop_size=32,32', 'in a test'),
        (['test', 'bisenetv2_camvid'], 'train_cfg.max_iters=7', 'in a test'),
        (['benchmark', 'bisenetv2_camvid', 'none.pth'], 'train_cfg.max_iters=7', 'in a benchmark'),
        (['benchmark', 'bisenetv2_camvid', 'none.pth'], 'crop_size=32,32', None),  # --protocol stock pads to it
    ],
)
def test_options_that_a_command_does_not_read(arguments, option, where, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(tmp_path / 'nowhere'))
    assert main([*arguments, '--cfg-options', option]) == 2
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith('note: ')]
    assert notes == ([f'note: --cfg-options {option.partition("=")[0]} changes nothing {where}'] if where else [])


def test_fields_that_another_one_switches_off(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ['--cfg-options', 'model.test_cfg.scales=(1.0,)']
    assert main(['benchmark', 'bisenetv2_camvid', 'none.pth', *options]) == 2
    assert 'model.test_cfg.scales changes nothing, because mode is whole; msf, mscf read it' in capsys.readouterr().err


def test_a_size_from_the_command_line():
    """MMEngine reads it as a list, which MMCV's Resize does not take."""
    cfg = load('bisenetv2_camvid', 'test_dataloader.dataset.pipeline.1.scale=64,32')
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (64, 32)


@pytest.mark.parametrize('seconds', ['-1', 'nan', 'inf'])
def test_times_that_nobody_can_wait(seconds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['test', 'bisenetv2_camvid', '--show', '--wait-time', seconds]) == 2
    said = f'--wait-time {seconds}: give seconds, 0 or more; 0 waits for a key'
    assert capsys.readouterr().err == f'mmseg-bisenet: error: {said}\n'


# -- names of MMSegmentation 0.x ---------------------------------------------------------------------------------------

# The published weights are files of 0.x: the name of the config, the date and a digest.
OLD = {
    re.sub(r'_20\d{6}_\d{6}-.*', '', Path(str(entry.weights)).name): name
    for name, entry in model_index.entries().items()
    if isinstance(entry.weights, str)
}
OLD_V2 = 'bisenetv2_fcn_fp16_4x4_1024x1024_160k_cityscapes'


def test_there_are_fifteen_old_names():
    assert len(OLD) == 15 and not OLD.keys() & set(OLD.values())
    assert OLD['bisenetv1_r18-d32_in1k-pre_lr5e-3_4x4_512x512_160k_coco-stuff164k'].startswith('bisenetv1_r18-d32-in1k')


@pytest.mark.parametrize('form', ['{}', '{}.py', 'configs/bisenetv1/{}.py'])
@pytest.mark.parametrize('old', OLD)
def test_old_names_mean_the_config_of_today(old, form, caplog):
    assert model_index.find_config(form.format(old)) == model_index.find_config(OLD[old])
    assert caplog.messages == [
        f'{form.format(old)} is a name of MMSegmentation 0.x; the config is called {OLD[old]} now'
    ]


def test_commands_and_get_model_take_old_names(caplog, capsys):
    assert load(f'{OLD_V2}.py').optim_wrapper.type == 'AmpOptimWrapper'
    assert mmseg_bisenet.get_model(f'{OLD_V2}.py').num_classes == 19
    assert len(caplog.messages) == 2 and all(OLD[OLD_V2] in message for message in caplog.messages)
    assert main(['test', f'{OLD_V2}.py', 'nowhere.pth']) == 2  # after the config was found
    assert OLD_V2 not in capsys.readouterr().err


@pytest.mark.parametrize('name', ['bisenetv1_r18-d32_9x9_1024x1024_160k_cityscapes', 'bisenetv1_r99_4x4_1024x1024'])
def test_an_old_name_of_no_config_is_refused(name):
    with pytest.raises(InputError, match=f'config {name} is neither a file nor the name of a config'):
        model_index.find_config(name)
    assert model_index.renamed(name) is None


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (['train', 'c.py', '--from', ''], '--from'),
        (['test', 'c.py', 'c.pth', '--out', ''], '--out'),
        (['predict', ''], 'an argument'),
    ],
)
def test_a_value_that_is_empty_is_refused(arguments, name, capsys):
    assert main(arguments) == 2
    assert f'{name} is empty; give a value' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'option'),
    [
        (['predict', 'a.png', '--save', 'labels', '--save', 'json'], '--save'),
        (['new-config', 'a', '--classes', 'road', 'car', '--classes', 'sky'], '--classes'),
        (['export', 'a', '--calibration', 'a', '--keep-float', 'b', '--calibration', 'c'], '--calibration'),
    ],
)
def test_a_list_that_is_given_twice(arguments, option, tmp_path, monkeypatch, capsys):
    """argparse would keep the last one."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert f'error: {option} is given twice, and the first would be dropped; give' in capsys.readouterr().err


def test_two_work_dirs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for other, text in (('b', 'error: --work-dir a and --cfg-options work_dir=b differ; leave'), ('a', 'data folder')):
        assert (
            main(
                [
                    'train',
                    'bisenetv2_fcn_1xb8-400it_miniscapes-128x256',
                    '--work-dir',
                    'a',
                    '--cfg-options',
                    f'work_dir={other}',
                ]
            )
            == 2
        )
        assert text in capsys.readouterr().err
