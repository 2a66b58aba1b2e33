"""Recipes against each other: each config trained and tested with each seed, and what the seeds leave undecided."""

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev

from mmseg_bisenet.errors import InputError

SCORES = ('mIoU', 'aAcc', 'mAcc')


def run(
    configs: Sequence[Path], seeds: Sequence[int], work_dir: Path, options: Sequence[str], changes: Sequence[str]
) -> list[dict]:
    """A row for each config and seed, with the scores of its last checkpoint, in percent.

    A run that is cut off goes on where it was; what has been tested already is not run again.

    Args:
        configs: paths.
        seeds: of the weights, of the order of the images and of their augmentation.
        work_dir: of all; each has a folder ``CONFIG-SEED`` in it.
        options: others of ``mmseg-bisenet train``, as ``--amp``.
        changes: ``KEY=VALUE`` for ``--cfg-options``, of both.

    Raises:
        InputError: a training or a test failed; its output has said why.
    """
    rows = []
    for config in configs:
        for seed in seeds:
            folder = work_dir / f'{config.stem}-{seed}'
            scores = folder / 'evaluation' / 'scores.json'
            if not scores.is_file():
                seeded = ['--cfg-options', f'randomness.seed={seed}', *changes]
                _call('train', config, '--work-dir', folder, '--resume', *options, *seeded)
                checkpoint = (folder / 'last_checkpoint').read_text().strip()
                _call('test', config, checkpoint, '--work-dir', folder, *seeded)
            summary = json.loads(scores.read_text())['summary']
            rows.append(dict(config=config.stem, seed=seed) | {name: summary[name] for name in SCORES})
    return rows


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
