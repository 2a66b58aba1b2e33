"""`list` shows what the model index says; `--help` has every command in a group."""

import pytest
import yaml

from mmseg_bisenet import model_index
from mmseg_bisenet.cli import GROUPS, UNLISTED, main


def test_the_table(tmp_path, monkeypatch, capsys):
    full = dict(
        Name='a_first',
        Config='a.py',
        Metadata={'Training Data': 'COCO-Stuff 164k', 'Parameters (M)': 3.36, 'Multiply-adds (G)': 98.85},
        Results=[dict(Metrics={'mIoU': 73.2, 'mIoU(ms+flip)': 75.74})],
        Weights='https://host/weights.pth',
    )
    shipped = dict(Name='bisenetv2_camvid', Config='b.py', Metadata={'Training Data': 'CamVid'})
    bare = dict(Name='c_third', Config='c.py')
    (tmp_path / 'metafile.yaml').write_text(yaml.safe_dump(dict(Models=[full, shipped, bare])))
    (tmp_path / 'model-index.yml').write_text('Import: [metafile.yaml]')
    monkeypatch.setattr(model_index, 'folder', lambda: tmp_path)
    assert main(['list']) == 0
    assert capsys.readouterr().out == (
        'model             data              mIoU  ms+flip  parameters  multiply-adds, 1024x2048  weights\n'
        'a_first           COCO-Stuff 164k  73.20    75.74      3.36 M                    98.8 G  to download\n'
        'bisenetv2_camvid  CamVid                                                                 in the package\n'
        'c_third                                                                                  none\n'
    )


@pytest.mark.parametrize('pattern', ['v1_r50', '*v1_r50*coco*', 'bisenetv2_camvid', '[v]2*camvid'])
def test_a_pattern_is_part_of_the_names(pattern, capsys):
    assert main(['list', pattern]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == model_index.list_models(f'*{pattern}*') != []


def test_no_model_matches(capsys):
    assert main(['list', 'deeplab']) == 2
    assert capsys.readouterr().err == (
        "mmseg-bisenet: error: no model matches 'deeplab'; mmseg-bisenet list shows all of them\n"
    )
    assert main(['list', 'a\nb']) == 2
    assert capsys.readouterr().err.startswith(r"mmseg-bisenet: error: no model matches 'a\nb'; ")


def test_help_lists_the_commands_in_groups(capsys):
    with pytest.raises(SystemExit, match='0'):
        main(['--help'])
    shown = capsys.readouterr().out
    for group, commands in GROUPS.items():
        block = shown.partition(f'\n{group}:\n')[2].partition('\n\n')[0]
        assert [tuple(line.split(maxsplit=1)) for line in block.splitlines()] == list(commands.items())
    assert not any(f'  {command} ' in shown for command in UNLISTED)


@pytest.mark.parametrize('command', [*(name for group in GROUPS.values() for name in group), *UNLISTED])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit, match='0'):
        main([command, '--help'])
    assert f'usage: mmseg-bisenet {command} ' in capsys.readouterr().out
