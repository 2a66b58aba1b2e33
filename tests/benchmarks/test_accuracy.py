"""Each recipe is trained and tested once with each seed; the table has mean and standard deviation."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest

from benchmarks import accuracy
from mmseg_bisenet.errors import InputError

DRIVES = Path(__file__).parents[2] / 'configs/bisenetv2/bisenetv2_fcn_1xb8-1k_camvid-drives-240x320.py'
NAMES = ['bisenetv2_fcn_1xb8-400it_camvid-176x240', 'bisenetv2_fcn-stock_1xb8-400it_camvid-176x240']


@pytest.fixture
def calls(monkeypatch):
    """Records trainings and tests instead of running them; the score is ten times the seed, and one more for ours."""
    made = []

    def call(command, config, *others):
        others = list(map(str, others))
        made.append((command, config.stem, others))
        folder = Path(others[others.index('--work-dir') + 1])
        seed = int(next(text for text in others if text.startswith('randomness.seed=')).split('=')[1])
        if command == 'train':
            folder.mkdir(parents=True, exist_ok=True)
            (folder / 'last_checkpoint').write_text(f'{folder}/iter_400.pth')
        else:
            (folder / 'evaluation').mkdir(exist_ok=True)
            held_out = others[-1].partition('[0')[2]  # of test_dataloader.dataset.prefixes=[0016E5_], for example
            score = 10 * seed + ('stock' not in config.stem) + int(held_out[:3] or 0)  # and 1, 6 or 16 for the drive
            scores = dict(mIoU=score, aAcc=80.0, mAcc=50.0, FWIoU=70.0)
            classes = [dict({'class': 'sky'}, IoU=score + 0.5), dict({'class': 'fence'}, IoU=None)]
            (folder / 'evaluation' / 'scores.json').write_text(json.dumps(dict(summary=scores, per_class=classes)))

    monkeypatch.setattr(accuracy, '_call', call)
    return made


def test_each_config_and_seed_once(calls, tmp_path, capsys):
    arguments = [*NAMES, '--seeds', '1', '2', '4', '--work-dir', str(tmp_path / 'runs')]
    arguments += ['--amp', '--amp-dtype', 'bfloat16', '--ema', '--cfg-options', 'train_cfg.max_iters=7', '--csv']
    assert accuracy.main([*arguments, str(tmp_path / 'a.csv')]) == 0
    assert [(command, config) for command, config, _ in calls] == [
        (command, name) for name in NAMES for _ in range(3) for command in ('train', 'test')
    ]
    _, _, train = calls[0]
    assert train[2:] == [
        '--resume', '--amp', '--amp-dtype', 'bfloat16', '--ema', '--cfg-options', 'randomness.seed=1',
        'train_cfg.max_iters=7',
    ]  # fmt: skip
    assert '--ema' not in calls[1][2]
    assert calls[1][2][0] == f'{tmp_path}/runs/{NAMES[0]}-1/iter_400.pth'
    out = capsys.readouterr().out
    assert f'| {NAMES[0]} | 11.00 | 21.00 | 41.00 | 24.33 | 15.28 |' in out  # of 11, 21 and 41, computed by hand
    assert f'| {NAMES[1]} | 10.00 | 20.00 | 40.00 | 23.33 | 15.28 |' in out
    with (tmp_path / 'a.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['config'], row['seed'], float(row['mIoU'])) for row in rows[2:4]] == [
        (NAMES[0], '4', 41.0),
        (NAMES[1], '1', 10.0),
    ]
    assert {(row['changed'], row['ema']) for row in rows} == {('train_cfg.max_iters=7', 'True')}
    done = len(calls)
    assert accuracy.main([*arguments, str(tmp_path / 'b.csv')]) == 0
    assert len(calls) == done
    assert (tmp_path / 'b.csv').read_text() == (tmp_path / 'a.csv').read_text()


def test_each_drive_is_left_out_once(calls, tmp_path, capsys):
    arguments = [str(DRIVES), '--seeds', '1', '2', '--leave-one-out', '--work-dir', str(tmp_path / 'runs'), '--csv']
    assert accuracy.main([*arguments, str(tmp_path / 'a.csv')]) == 0
    assert len(calls) == 12
    drives = ['0001TP', '0006R0', '0016E5']
    for (_, _, train), (_, _, test), drive in zip(calls[::2], calls[1::2], 2 * drives, strict=True):
        others = ','.join(f'{other}_' for other in drives if other != drive)
        prefixes = [f'train_dataloader.dataset.prefixes=[{others}]']
        prefixes += [f'{part}_dataloader.dataset.prefixes=[{drive}_]' for part in ('val', 'test')]
        assert train[-3:] == test[-3:] == prefixes
        assert train[train.index('--work-dir') + 1].endswith(f'-{drive}')
    rows = accuracy.measure([DRIVES], [1, 2], tmp_path / 'runs', [], [], leave_one_out=True)
    assert len(calls) == 12
    assert [(row['seed'], row['held_out'], row['mIoU'], row['sky']) for row in rows] == [
        (1, '0001TP', 11 + 1, 12.5),
        (1, '0006R0', 11 + 6, 17.5),
        (1, '0016E5', 11 + 16, 27.5),
        (1, 'mean', pytest.approx(11 + 23 / 3), pytest.approx(11.5 + 23 / 3)),
        (2, '0001TP', 21 + 1, 22.5),
        (2, '0006R0', 21 + 6, 27.5),
        (2, '0016E5', 21 + 16, 37.5),
        (2, 'mean', pytest.approx(21 + 23 / 3), pytest.approx(21.5 + 23 / 3)),
    ]
    assert all(math.isnan(row['fence']) for row in rows)
    out = capsys.readouterr().out
    assert f'| {DRIVES.stem} | 1 | 0006R0 | 17 | 80.00 | 50.00 | 17.50 | nan |' in out
    assert f'| {DRIVES.stem} | 18.67 | 28.67 | 23.67 | 7.07 |' in out


def test_a_config_without_drives_is_named(calls, tmp_path):
    config = DRIVES.with_name(f'{NAMES[0]}.py')
    with pytest.raises(InputError, match=rf'{config} has no drives to leave out; name a config whose data sets'):
        accuracy.measure([config], [0], tmp_path, [], [], leave_one_out=True)
    assert not calls


def test_scores_of_an_unfinished_training_do_not_count(calls, tmp_path):
    """A training that was interrupted has written the scores of its last validation."""
    folder = tmp_path / f'{NAMES[1]}-3'
    accuracy._claim(folder, dict(options=[], changes=[]))
    (folder / 'evaluation').mkdir()
    early = dict(summary=dict(mIoU=1.0, aAcc=1.0, mAcc=1.0), per_class=[])
    (folder / 'evaluation' / 'scores.json').write_text(json.dumps(early))
    (row,) = accuracy.measure([Path(f'{NAMES[1]}.py')], [3], tmp_path, [], [])
    assert row['mIoU'] == 30
    assert [command for command, _, _ in calls] == ['train', 'test']


def test_other_options_are_another_run(calls, tmp_path):
    """A score made with other options is not reused."""
    configs, folder = [Path(f'{name}.py') for name in NAMES], tmp_path / f'{NAMES[1]}-3'
    accuracy.measure(configs, [3], tmp_path, ['--ema'], ['a=1'])
    assert json.loads((folder / 'asked.json').read_text()) == dict(options=['--ema'], changes=['a=1'])
    made = len(calls)
    for options, changes, text in (
        (['--ema'], ['a=2'], '--ema a=2'),
        ([], ['a=1'], 'a=1'),
        (['--ema', '--amp'], ['a=1'], '--ema --amp a=1'),
        ([], [], 'no options'),
    ):
        # The folder of the first config is new: nothing is trained before all folders are checked.
        with pytest.raises(
            InputError, match=rf'{folder} was made with --ema a=1, not with {text}; name another --work-'
        ):
            accuracy.measure([Path('new.py'), configs[1]], [3], tmp_path, options, changes)
        shutil.rmtree(tmp_path / 'new-3')
    (folder / 'asked.json').unlink()
    with pytest.raises(InputError, match='was made with unknown options, not with --ema a=1'):
        accuracy.measure(configs, [3], tmp_path, ['--ema'], ['a=1'])
    assert len(calls) == made


def test_a_run_that_fails_stops_all(tmp_path, capfd):
    with pytest.raises(InputError, match=r'mmseg-bisenet train nothing.py .* ended with status 2; fix what it reports'):
        accuracy.measure([Path('nothing.py')], [0], tmp_path, [], [])
    assert 'config nothing.py is neither a file nor' in capfd.readouterr().err
