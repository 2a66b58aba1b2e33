"""Recipes against each other: each config trained and tested with each seed, and what the seeds leave undecided."""

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby, product
from pathlib import Path
from statistics import mean, stdev

from mmseg_bisenet.benchmark.tables import write_text
from mmseg_bisenet.errors import InputError

SCORES = ('mIoU', 'aAcc', 'mAcc')
ASKED = 'asked.json'  # options and changes that a run's folder was made with


def run(
    configs: Sequence[Path], seeds: Sequence[int], work_dir: Path, options: Sequence[str], changes: Sequence[str]
) -> list[dict]:
    """A row for each config and seed, with the scores of its last checkpoint, in percent.

    A run that is cut off goes on where it was; what has been tested already is not run again. Each folder holds what it
    was asked for, ``asked.json``: a run with other options or changes is another run.

    Args:
        configs: paths.
        seeds: of the weights, of the order of the images and of their augmentation.
        work_dir: of all; each has a folder ``CONFIG-SEED`` in it.
        options: others of ``mmseg-bisenet train``, as ``--amp``.
        changes: ``KEY=VALUE`` for ``--cfg-options``, of both.

    Raises:
        InputError: a folder was made with other options or changes; or a training or a test failed, whose output has
            said why.
    """
    runs = [(config, seed, work_dir / f'{config.stem}-{seed}') for config, seed in product(configs, seeds)]
    for _, _, folder in runs:  # all of them before the first one trains for hours
        _claim(folder, dict(options=list(options), changes=list(changes)))
    rows = []
    for config, seed, folder in runs:
        scores = folder / 'evaluation' / 'scores.json'
        if not scores.is_file():
            seeded = ['--cfg-options', f'randomness.seed={seed}', *changes]
            _call('train', config, '--work-dir', folder, '--resume', *options, *seeded)
            checkpoint = (folder / 'last_checkpoint').read_text().strip()
            _call('test', config, checkpoint, '--work-dir', folder, *seeded)
        summary = json.loads(scores.read_text())['summary']
        rows.append(dict(config=config.stem, seed=seed) | {name: summary[name] for name in SCORES})
    return rows


def _claim(folder: Path, asked: dict[str, list[str]]) -> None:
    """Write into a new folder what was asked for; refuse one that was made with something else."""
    note = folder / ASKED
    if not any(folder.glob('*')):
        write_text(note, json.dumps(asked, indent=2))
    made = json.loads(note.read_text()) if note.is_file() else dict(options=['unknown options'], changes=[])
    if made != asked:
        before, now = (' '.join([*each['options'], *each['changes']]) or 'no options' for each in (made, asked))
        raise InputError(f'{folder} was made with {before}, not with {now}; name another --work-dir, or remove it')


def _call(*arguments: str | Path) -> None:
    command = [sys.executable, '-m', 'mmseg_bisenet.cli', *map(str, arguments)]
    if status := subprocess.run(command).returncode:
        raise InputError(
            f'mmseg-bisenet {" ".join(command[3:])} ended with status {status}; mend what it says, and run this again'
        )


def spread(rows: Sequence[dict]) -> list[list[str]]:
    """For each config: its name, mIoU of each seed, their mean, and their standard deviation (n - 1)."""
    table = []
    for config, own in groupby(rows, key=lambda row: row['config']):
        scores = [row['mIoU'] for row in own]
        deviation = f'{stdev(scores):.2f}' if len(scores) > 1 else ''
        table.append([config, *(f'{score:.2f}' for score in scores), f'{mean(scores):.2f}', deviation])
    return table
