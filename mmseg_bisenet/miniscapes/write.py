"""Write miniscapes to disk as Cityscapes lays out its own folders."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.classes import colours, train_ids
from mmseg_bisenet.miniscapes.scene import check, draw_scene

VERSION = 1  # of the drawings: raise it when the same seed gives other pictures
NAME = 'miniscapes.json'
SPLITS = ('train', 'val')
TOWNS = {
    'train': ('ahornstedt', 'brunnenau', 'dornwiesen', 'eichenfurt', 'felsenbrueck', 'grauenstein', 'hollerbach'),
    'val': ('kaltenmuehl', 'lindenhagen', 'mohnfelden'),
}
FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


def write_miniscapes(
    root: str | Path, train: int = 200, val: int = 40, size: tuple[int, int] = (256, 512), seed: int = 0
) -> Path:
    """Write a data set of drawn street scenes that every reader of Cityscapes reads.

    A folder that holds the same data set already is used as it is, an empty one is filled. The first scenes do not
    depend on how many are asked for. The folder appears when all is written, or not at all.

    Args:
        root: the folder to make.
        train: number of scenes to train on.
        val: number of scenes to validate on; none of them is a scene of ``train``.
        size: pixels (H, W), each at least 64.
        seed: any integer from 0.

    Returns:
        ``root``, with leftImg8bit/, gtFine/ and miniscapes.json.

    Raises:
        InputError: an argument is wrong, or ``root`` holds something else.
    """
    root = Path(root).expanduser()
    size = tuple(map(int, size))
    for name, count in (('train', train), ('val', val)):
        if count < 0:
            raise InputError(f'{name} {count} is negative: use a number of scenes from 0')
    check(seed, size)
    facts = {'version': VERSION, 'seed': int(seed), 'train': train, 'val': val, 'size': list(size)}
    if root.exists() and not _empty(root):
        if _facts(root) == facts:
            return root
        held = 'miniscapes of other parameters' if _facts(root) else 'something else'
        raise InputError(f'{root} already holds {held}: name another folder, or remove this one')

    root.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f'.{root.name}.', dir=root.parent))
    try:
        part.chmod(0o755)  # mkdtemp makes it private
        _write(part, {'train': train, 'val': val}, size, seed)
        (part / NAME).write_text(json.dumps(facts) + '\n')
        if root.exists() and _facts(root) == facts:  # another process was quicker
            return root
        part.rename(root)  # fails rather than replace a folder that is not empty
    finally:
        shutil.rmtree(part, ignore_errors=True)  # not there any more if all went well
    return root


def scene_seed(seed: int, split: str, index: int) -> int:
    """The seed of one scene of a data set, another for each split and index."""
    return int(np.random.SeedSequence((seed, SPLITS.index(split), index)).generate_state(1, np.uint64)[0])


def _empty(root: Path) -> bool:
    return root.is_dir() and not any(root.iterdir())


def _facts(root: Path) -> dict | None:
    try:
        return json.loads((root / NAME).read_text())
    except (OSError, ValueError):
        return None


def _write(root: Path, counts: dict[str, int], size: tuple[int, int], seed: int) -> None:
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
            _png(root / f'leftImg8bit/{place}_leftImg8bit.png', photo)
            _png(root / f'gtFine/{place}_gtFine_labelIds.png', labels)
            _png(root / f'gtFine/{place}_gtFine_labelTrainIds.png', train_ids(labels))
            _png(root / f'gtFine/{place}_gtFine_color.png', colours(labels)[..., ::-1])
            done += 1
            _progress(done, total, time.monotonic() - start)


def _png(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), picture, FAST):
        raise OSError(f'{path} could not be written')


def _progress(done: int, total: int, seconds: float) -> None:
    """A line on stderr, rewritten in place on a terminal, else one line for each tenth."""
    line = f'miniscapes: {done}/{total} scenes, {seconds * (total - done) / done:.0f} s left'
    if sys.stderr.isatty():
        print(f'\r{line:<60}', end='\n' if done == total else '', file=sys.stderr, flush=True)
    elif done * 10 // total > (done - 1) * 10 // total:
        print(line, file=sys.stderr, flush=True)
