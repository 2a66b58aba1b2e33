"""Train and test several configs with several seeds each; report mIoU with mean and standard deviation."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby, product
from pathlib import Path
from statistics import mean, stdev

from benchmarks import command
from mmseg_bisenet import model_index
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.cli import options
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import write_text

SCORES = ('mIoU', 'aAcc', 'mAcc')
ASKED = 'asked.json'  # records the options and changes of a run in its folder


def measure(
    configs: Sequence[Path], seeds: Sequence[int], work_dir: Path, options: Sequence[str], changes: Sequence[str]
) -> list[dict]:
    """Train each config with each seed, and test its last checkpoint.

    A run that was interrupted resumes, and a run that was tested is not repeated. Each folder records its options and
    changes in ``asked.json``; a run with others needs another folder.

    Args:
        configs: paths.
        seeds: of the weights, and of the order and the augmentation of the images.
        work_dir: each run has a folder ``CONFIG-SEED`` in it.
        options: further options of ``mmseg-bisenet train``, such as ``--amp``.
        changes: ``KEY=VALUE`` for ``--cfg-options`` of training and test.

    Returns:
        A row for each config and seed, with its scores in percent.

    Raises:
        InputError: a folder was made with other options or changes; or a training or a test failed, and has printed
            the reason.
    """
    runs = [(path, seed, work_dir / f'{path.stem}-{seed}') for path, seed in product(configs, seeds)]
    for _, _, folder in runs:  # check all folders before the first training
        _claim(folder, dict(options=list(options), changes=list(changes)))
    rows = []
    for path, seed, folder in runs:
        scores = folder / 'evaluation' / 'scores.json'
        if not scores.is_file():
            seeded = ['--cfg-options', f'randomness.seed={seed}', *changes]
            _call('train', path, '--work-dir', folder, '--resume', *options, *seeded)
            checkpoint = (folder / 'last_checkpoint').read_text().strip()
            _call('test', path, checkpoint, '--work-dir', folder, *seeded)
        summary = json.loads(scores.read_text())['summary']
        rows.append(dict(config=path.stem, seed=seed) | {name: summary[name] for name in SCORES})
    return rows


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
    rows = measure(configs, args.seeds, Path(args.work_dir), passed_on, changes)
    header = ['config', *(f'seed {seed}' for seed in args.seeds), 'mean', 'standard deviation']
    print(markdown(header, 'l' + 'r' * (len(args.seeds) + 2), spread(rows)))
    setting |= dict(amp=args.amp_dtype if args.amp else '', ema=args.ema, changed=' '.join(changes))
    return [row | setting for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('accuracy', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
