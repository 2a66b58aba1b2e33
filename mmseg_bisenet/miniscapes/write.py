"""Write synthetic scenes to disk in the folder layout of Cityscapes."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input, check_output, replacing
from mmseg_bisenet.miniscapes.classes import colours, train_ids
from mmseg_bisenet.miniscapes.scene import check, draw_scene
from mmseg_bisenet.own_results import digests
from mmseg_bisenet.pixels import write_pixels

VERSION = 1  # to be raised if the same seed gives other pictures
NAME = 'miniscapes.json'
FILES = 'files'  # the key of the checksums
SPLITS = ('train', 'val')
TOWNS = {
    'train': ('ahornstedt', 'brunnenau', 'dornwiesen', 'eichenfurt', 'felsenbrueck', 'grauenstein', 'hollerbach'),
    'val': ('kaltenmuehl', 'lindenhagen', 'mohnfelden'),
}
FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


def write_miniscapes(
    root: str | Path, train: int = 200, val: int = 40, size: Sequence[int] = (256, 512), seed: int = 0
) -> Path:
    """Write a data set of synthetic street scenes in the format of Cityscapes.

    The folder appears when it is complete. If it already contains the same data set, its files are compared with the
    checksums in miniscapes.json, and nothing is written. The first scenes do not depend on the number of scenes.

    Args:
        root: the folder to create; it may exist if it is empty.
        train: number of scenes for training.
        val: number of scenes for validation, different from those for training.
        size: pixels (H, W), each at least 64.
        seed: any integer from 0.

    Returns:
        ``root``, with leftImg8bit/, gtFine/ and miniscapes.json.

    Raises:
        InputError: an argument is wrong; ``root`` contains something else or a damaged file, or cannot be written.
    """
    root = Path(root).expanduser()
    size = tuple(map(int, size))
    for name, count in (('train', train), ('val', val)):
        if count < 0:
            raise InputError(f'{name} {count} is negative; use a number of scenes from 0')
    check(seed, size)
    facts = {'version': VERSION, 'seed': int(seed), 'train': train, 'val': val, 'size': list(size)}
    if _found(root) == facts:
        _require_whole(root)
        return root
    check_output(root, folder=True, fix='name another folder')
    try:
        with replacing(root) as partial:
            _write(partial, {'train': train, 'val': val}, size, seed)
            (partial / NAME).write_text(json.dumps(facts | {FILES: digests(partial)}) + '\n')
    except InputError:
        if _found(root) != facts:  # if equal, another process was faster
            raise
    return root


def scene_seed(seed: int, split: str, index: int) -> int:
    """The seed of a scene, different for each split and index."""
    return int(np.random.SeedSequence((seed, SPLITS.index(split), index)).generate_state(1, np.uint64)[0])


def _found(root: Path) -> dict:
    """What the data set in ``root`` was drawn from; empty if there is none."""
    return {key: value for key, value in _read(root).items() if key != FILES}


def _read(root: Path) -> dict:
    try:
        check_input(root / NAME)
        return dict(json.loads((root / NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _require_whole(root: Path) -> None:
    """Compare the files with their checksums; data sets of earlier versions have none."""
    written = _read(root).get(FILES)
    if not isinstance(written, dict):
        return
    found = digests(root)
    for name, digest in written.items():
        if found.get(name) != digest:
            state = 'is damaged' if name in found else 'is missing'
            raise InputError(f'{root / name} {state}; remove {root}, and the scenes are drawn again')


def _write(root: Path, counts: dict[str, int], size: Sequence[int], seed: int) -> None:
    total, done, start = sum(counts.values()), 0, time.monotonic()
    for split, count in counts.items():
        towns = TOWNS[split]
        for kind in ('leftImg8bit', 'gtFine'):
            (root / kind / split).mkdir(parents=True)
            for town in towns[:count]:
                (root / kind / split / town).mkdir()
        for index in range(count):
            photo, labels = draw_scene(scene_seed(seed, split, index), size)
            town = towns[index % len(towns)]
            place = f'{split}/{town}/{town}_{index // len(towns):06d}_000019'
            write_pixels(root / f'leftImg8bit/{place}_leftImg8bit.png', photo, FAST)
            write_pixels(root / f'gtFine/{place}_gtFine_labelIds.png', labels, FAST)
            write_pixels(root / f'gtFine/{place}_gtFine_labelTrainIds.png', train_ids(labels), FAST)
            write_pixels(root / f'gtFine/{place}_gtFine_color.png', colours(labels)[..., ::-1], FAST)
            done += 1
            _progress(done, total, time.monotonic() - start)


def _progress(done: int, total: int, seconds: float) -> None:
    """Print progress to stderr: on a terminal one line that is overwritten, else a line for each 10 %."""
    line = f'miniscapes: {done}/{total} scenes, {seconds * (total - done) / done:.0f} s left'
    if sys.stderr.isatty():
        print(f'\r{line:<60}', end='\n' if done == total else '', file=sys.stderr, flush=True)
    elif done * 10 // total > (done - 1) * 10 // total:
        print(line, file=sys.stderr, flush=True)
