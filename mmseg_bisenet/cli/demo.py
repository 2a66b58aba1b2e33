"""``mmseg-bisenet demo``: train, test and time a network on synthetic street scenes with mim."""

import argparse
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmseg_bisenet import install
from mmseg_bisenet.errors import InputError

CONFIG = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
# The lines of the stock scripts that are printed: progress, scores and tables. The log file has all lines.
SHOWN = re.compile(r'Iter\((train|val|test)\)|^[+|]|Done image|Average fps|exist|written|mmseg-bisenet|Error')
PICTURES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--iters', type=int, help='number of training iterations (default: that of the config)')
    parser.add_argument(
        '--data', default='data', metavar='DIR', help='folder for the synthetic scenes (default: %(default)s)'
    )
    parser.add_argument(
        '--work-dir', default='work_dirs/demo', metavar='DIR', help='folder for the results (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.miniscapes import write_miniscapes

    if args.iters is not None and args.iters < 1:
        raise InputError(f'--iters {args.iters}: give 1 or more')
    start = time.monotonic()
    work_dir = Path(args.work_dir, time.strftime('%Y%m%d_%H%M%S'))
    config, benchmark = (_config(name) for name in (CONFIG, f'{CONFIG}_benchmark'))
    _title('Drawing synthetic street scenes')
    scenes = write_miniscapes(Path(args.data, 'miniscapes'))
    print(f'{scenes}: 200 scenes for training, 40 others for evaluation')

    mim = Mim(work_dir, Path(args.data))
    stock = _stock_distribution()
    options = [] if args.iters is None else _shorter(args.iters)
    mim('train', stock, config, '--work-dir', work_dir / 'train', *options)
    checkpoint = Path(os.path.relpath((work_dir / 'train' / 'last_checkpoint').read_text()))
    single = mim('test', 'mmseg_bisenet', config, '--checkpoint', checkpoint, '--work-dir', work_dir / 'test',
                 '--out', work_dir / 'labels')  # fmt: skip
    mim('test', 'mmseg_bisenet', config, '--checkpoint', checkpoint, '--work-dir', work_dir / 'aug-test', '--aug-test')
    mim('run', stock, 'benchmark', benchmark, checkpoint, '--work-dir', work_dir / 'benchmark')

    fps = json.loads(max((work_dir / 'benchmark').glob('fps_*.json')).read_text())['average_fps']
    pictures = _pictures(scenes, work_dir)
    _title('Scores on the 40 scenes for evaluation')
    # The Cityscapes classes that are not drawn have no score.
    print('\n'.join(line for line in single if re.match('[+|]', line) and 'nan' not in line))
    print(f'mIoU, single scale        {_miou(work_dir / "test"):.2f}')
    print(f'mIoU, multi-scale + flip  {_miou(work_dir / "aug-test"):.2f}')
    print(f'fps, 512x256, stock script {fps:.2f}')
    print(f'\ncheckpoint  {checkpoint}\nlogs        {work_dir}')
    print('\n'.join(f'picture     {path}' for path in pictures))
    print(f'\ntotal: {time.monotonic() - start:.0f} s')
    return 0


class Mim:
    """Runs mim as a user does. All output goes to a log file; selected lines are printed."""

    def __init__(self, work_dir: Path, data: Path) -> None:
        self.work_dir = work_dir
        self.environment = os.environ | dict(MMSEG_BISENET_DATA=str(data), PYTHONUNBUFFERED='1')
        self.calls = 0

    def __call__(self, *arguments: str | Path) -> list[str]:
        """Run ``mim ARGUMENTS`` and return the lines of its output.

        Raises:
            InputError: the command failed.
        """
        self.calls += 1
        command = ['mim', *map(str, arguments)]
        _title(' '.join(command))
        log = self.work_dir / f'{self.calls}_{command[1]}.log'
        log.parent.mkdir(parents=True, exist_ok=True)
        # The mim of this Python environment, which may not be activated.
        command[0] = str(Path(sys.executable).with_name('mim'))
        lines = []
        with log.open('w') as file:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            assert process.stdout is not None  # because it is a pipe
            try:
                for line in process.stdout:
                    file.write(line)
                    lines.append(line.rstrip())
                    if SHOWN.search(line):
                        print(re.sub(r'^\S+ \S+ - mmengine - INFO - ', '', line.rstrip())[:150], flush=True)
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGKILL)  # mim, the script that it runs, and the script's workers
                raise
        if process.wait():
            raise InputError(f'{" ".join(map(str, arguments))} failed: {lines[-1] if lines else ""}; see {log}')
        return lines


def _stock_distribution() -> str:
    """The name of the installed distribution of MMSegmentation, which mim needs."""
    for name in ('mmsegmentation', 'onedl-mmsegmentation'):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    raise InputError(f'mmsegmentation is not installed; run: {install.command("openmmlab")}')


def _shorter(iters: int) -> list[str]:
    return [
        '--cfg-options',
        f'train_cfg.max_iters={iters}',
        f'train_cfg.val_interval={iters}',
        f'default_hooks.checkpoint.interval={iters}',
        f'param_scheduler.1.end={max(iters, 21)}',
    ]


def _config(name: str) -> Path:
    """The path of a config: the short relative path in a checkout, else that of the installed package."""
    from mmseg_bisenet.model_index import find_config

    typed = Path('configs', 'bisenetv2', f'{name}.py')
    return typed if typed.is_file() else find_config(name)


def _miou(work_dir: Path) -> float:
    return json.loads((work_dir / 'evaluation/scores.json').read_text())['summary']['mIoU']


def _pictures(scenes: Path, work_dir: Path) -> list[Path]:
    """Draw image, truth and prediction of the first scenes of the evaluation side by side."""
    import cv2
    from mmseg.datasets import CityscapesDataset

    from mmseg_bisenet.engine.pictures_hook import side_by_side
    from mmseg_bisenet.evaluation.predictions import LABEL_IDS
    from mmseg_bisenet.pixels import read_pixels, write_pixels

    palette = [[0, 0, 0]] * (max(LABEL_IDS) + 1)
    for label, colour in zip(LABEL_IDS, CityscapesDataset.METAINFO['palette'], strict=True):
        palette[label] = colour[::-1]
    read: Callable[..., Any] = read_pixels  # an image, because these files exist
    folder = work_dir / 'pictures'
    folder.mkdir()
    paths = []
    for photo in sorted(scenes.glob('leftImg8bit/val/*/*.png'))[:PICTURES]:
        labels = str(photo).replace('leftImg8bit', 'gtFine', 1).replace('_leftImg8bit', '_gtFine_labelIds')
        truth, prediction = (read(path, cv2.IMREAD_UNCHANGED) for path in (labels, work_dir / 'labels' / photo.name))
        paths.append(folder / photo.name)
        write_pixels(paths[-1], side_by_side(read(photo), truth, prediction, palette))
    return paths


def _title(text: str) -> None:
    print(f'\n== {text}', flush=True)
