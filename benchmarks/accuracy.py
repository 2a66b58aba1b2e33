"""Train and test several configs with several seeds each; report mIoU with mean and standard deviation.

With ``--leave-one-out``, each seed is trained once for each drive of the data, without that drive, and tested on it.
The mIoU of a seed is then the mean over the drives.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby, product
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

from benchmarks import command
from mmseg_bisenet import model_index
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.cli import options
from mmseg_bisenet.config import check as config_check
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.evaluation import confusion
from mmseg_bisenet.files import write_text

SCORES = ('mIoU', 'aAcc', 'mAcc')
ASKED = 'asked.json'  # records the options and changes of a run in its folder
TESTED = 'tested.json'  # the scores of its test; `evaluation` may hold those of an unfinished training
MEAN = 'mean'  # over the drives


class Run(NamedTuple):
    config: Path
    seed: int
    held_out: str  # the drive that is left out, or ''
    changes: list[str]  # ``KEY=VALUE`` for ``--cfg-options`` of training and test
    folder: Path


def measure(
    configs: Sequence[Path],
    seeds: Sequence[int],
    work_dir: Path,
    options: Sequence[str],
    changes: Sequence[str],
    *,
    leave_one_out: bool = False,
) -> list[dict]:
    """Train each config with each seed, and test its last checkpoint.

    A run that was interrupted resumes, and a run that was tested is not repeated. Each folder records its options and
    changes in ``asked.json``; a run with others needs another folder.

    Args:
        configs: paths.
        seeds: of the weights, and of the order and the augmentation of the images.
        work_dir: each run has a folder ``CONFIG-SEED`` or ``CONFIG-SEED-DRIVE`` in it.
        options: further options of ``mmseg-bisenet train``, such as ``--amp``.
        changes: ``KEY=VALUE`` for ``--cfg-options`` of training and test.
        leave_one_out: repeat each run for each drive of the config.

    Returns:
        A row for each config and seed, with its scores in percent. With ``leave_one_out``, a row for each drive that
        was ``held_out``, and one with the means over the drives; both have the IoU of each class too.

    Raises:
        InputError: a folder was made with other options or changes; a training or a test failed, and has printed the
            reason; or a config has no drives.
    """
    runs = []
    for config, seed in product(configs, seeds):
        for drive, split in (_splits(config) if leave_one_out else {'': []}).items():
            folder = work_dir / '-'.join([config.stem, str(seed), *drive.split()])
            runs.append(Run(config, seed, drive, [*changes, *split], folder))
    for run in runs:  # check all folders before the first training
        _claim(run.folder, dict(options=list(options), changes=run.changes))
    rows = []
    for (config, seed), group in groupby(runs, key=lambda run: (run.config, run.seed)):
        scores = [(run.held_out, _scores(run, options, with_classes=leave_one_out)) for run in group]
        if leave_one_out:
            columns = {name: np.array([own[name] for _, own in scores]) for name in scores[0][1]}
            scores.append((MEAN, {name: confusion.mean(column) for name, column in columns.items()}))
        for drive, own in scores:
            rows.append(dict(config=config.stem, seed=seed) | (dict(held_out=drive) if drive else {}) | own)
    return rows


def _splits(config: Path) -> dict[str, list[str]]:
    """The changes that leave out each drive of a config: train on the others, validate and test on this one."""
    cfg = config_check.read(config)
    try:
        prefixes = {*cfg.train_dataloader.dataset.prefixes, *cfg.test_dataloader.dataset.prefixes}
    except AttributeError as error:
        fix = 'name a config whose data sets have prefixes, such as bisenetv2_fcn_1xb8-1k_camvid-drives-240x320'
        raise InputError(f'{config} has no drives to leave out; {fix}') from error
    return {
        held_out.rstrip('_'): [
            f'train_dataloader.dataset.prefixes=[{",".join(sorted(prefixes - {held_out}))}]',
            *(f'{part}_dataloader.dataset.prefixes=[{held_out}]' for part in ('val', 'test')),
        ]
        for held_out in sorted(prefixes)
    }


def _scores(run: Run, options: Sequence[str], *, with_classes: bool) -> dict[str, float]:
    """Train and test, unless that is done; scores in percent."""
    tested = run.folder / TESTED
    if not tested.is_file():
        seeded = ['--cfg-options', f'randomness.seed={run.seed}', *run.changes]
        _call('train', run.config, '--work-dir', run.folder, '--resume', *options, *seeded)
        checkpoint = (run.folder / 'last_checkpoint').read_text().strip()
        _call('test', run.config, checkpoint, '--work-dir', run.folder, *seeded)
        write_text(tested, (run.folder / 'evaluation' / 'scores.json').read_text(), overwrite=True)
    scores = json.loads(tested.read_text())
    own = {name: scores['summary'][name] for name in SCORES}
    classes = scores['per_class'] if with_classes else ()
    return own | {row['class']: float('nan') if row['IoU'] is None else row['IoU'] for row in classes}


def _claim(folder: Path, asked: dict[str, list[str]]) -> None:
    """Record options and changes in a new folder; refuse a folder that was made with others."""
    note = folder / ASKED
    if not any(folder.glob('*')):
        write_text(note, json.dumps(asked, indent=2), overwrite=True)
    made = json.loads(note.read_text()) if note.is_file() else dict(options=['unknown options'], changes=[])
    if made != asked:
        before, now = (' '.join([*each['options'], *each['changes']]) or 'no options' for each in (made, asked))
        raise InputError(f'{folder} was made with {before}, not with {now}; name another --work-dir, or remove it')


def _call(*arguments: str | Path) -> None:
    line = [sys.executable, '-m', 'mmseg_bisenet.cli', *map(str, arguments)]
    if status := subprocess.run(line).returncode:
        raise InputError(
            f'mmseg-bisenet {" ".join(line[3:])} ended with status {status}; fix what it reports, and run this again'
        )


def spread(rows: Sequence[dict]) -> list[list[str]]:
    """A line for each config: its name, the mIoU of each seed, their mean, and their standard deviation (n - 1)."""
    table = []
    for name, own in groupby(rows, key=lambda row: row['config']):
        scores = [row['mIoU'] for row in own]
        deviation = f'{stdev(scores):.2f}' if len(scores) > 1 else ''
        table.append([name, *(f'{score:.2f}' for score in scores), f'{mean(scores):.2f}', deviation])
    return table


# -- command -----------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('configs', nargs='+', help='paths of configs, or bare names of configs of this package')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--work-dir', default='work_dirs/accuracy', metavar='DIR', help='default: %(default)s')
    parser.add_argument('--leave-one-out', action='store_true', help='test each drive, trained on the others')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--amp-dtype', choices=['float16', 'bfloat16'], default='float16', help='default: %(default)s')
    parser.add_argument('--ema', action='store_true', help='as for train')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=options.CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='change the configs',
    )


def run(args: argparse.Namespace) -> list[dict]:
    setting = machine.describe(command.device())
    passed_on = ['--amp', '--amp-dtype', args.amp_dtype] if args.amp else []
    passed_on += ['--ema'] if args.ema else []
    changes = [f'{key}={value}' for key, value in args.cfg_options.items()]
    configs = [model_index.find_config(name) for name in args.configs]
    rows = measure(configs, args.seeds, Path(args.work_dir), passed_on, changes, leave_one_out=args.leave_one_out)
    if args.leave_one_out:
        cells = [[f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in row.values()] for row in rows]
        print(markdown(list(rows[0]), 'lrl' + 'r' * (len(rows[0]) - 3), cells) + '\n')
    means = [row for row in rows if row.get('held_out', MEAN) == MEAN]
    header = ['config', *(f'seed {seed}' for seed in args.seeds), 'mean', 'standard deviation']
    print(markdown(header, 'l' + 'r' * (len(args.seeds) + 2), spread(means)))
    setting |= dict(amp=args.amp_dtype if args.amp else '', ema=args.ema, changed=' '.join(changes))
    return [row | setting for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('accuracy', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
