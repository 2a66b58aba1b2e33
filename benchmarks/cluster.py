"""``examples/ray_folder.py`` on this machine against one process that does the same: images a second, equal files.

The images are drawn streets. ``one process`` reads, labels and writes them in a loop, with as many threads as there are
cores; each worker of Ray has one. The second run of Ray loses a worker when a tenth of the images is labelled. Images a
second are those between the first and the last file; the seconds include the start of Ray and the loading of the model.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2

from benchmarks import command
from mmseg_bisenet import Predictor
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene

EXAMPLE = Path(__file__).resolve().parents[1] / 'examples' / 'ray_folder.py'
SCENES = 50  # different images; drawing one takes longer than labelling it


def draw(folder: Path, count: int, shape: Sequence[int]) -> None:
    folder.mkdir()
    scenes = [cv2.imencode('.png', draw_scene(seed, shape)[0])[1].tobytes() for seed in range(min(count, SCENES))]
    for number in range(count):
        (folder / f'{number:06}.png').write_bytes(scenes[number % len(scenes)])


def one_process(file: str, source: Path, output: Path) -> None:
    output.mkdir()
    predictor = Predictor(file)
    for path in sorted(source.iterdir()):
        (output / f'{path.name}.png').write_bytes(predictor(path).encoded('labels', '.png'))


def with_ray(file: str, source: Path, output: Path, workers: int, kill_at: int = 0) -> None:
    """Label the folder; with ``kill_at``, kill a worker when there are so many files.

    Raises:
        InputError: the example fails.
    """
    options = [source, output, '--model', Path(file).resolve(), '--workers', str(workers)]
    process = subprocess.Popen(
        [sys.executable, EXAMPLE, *options],
        env=os.environ | dict(PYTHONPATH=str(EXAMPLE.parents[1]), RAY_USAGE_STATS_ENABLED='0'),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while kill_at and process.poll() is None:
            if output.is_dir() and len(os.listdir(output)) >= kill_at:
                os.kill(labellers(process.pid)[0], signal.SIGKILL)
                break
            time.sleep(0.05)
        if process.wait(600):
            raise InputError(f'examples/ray_folder.py ended with status {process.returncode}; run it alone')
    finally:
        process.terminate()


def labellers(process: int) -> list[int]:
    """The processes that label, of a Ray that ``process`` started."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            title = (folder / 'cmdline').read_bytes()
            if title.startswith(b'ray::') and b'Labeller' in title and process in _parents(int(folder.name)):
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
    return found


def _parents(process: int) -> list[int]:
    found = []
    while process > 1:
        process = int(Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[1])
        found.append(process)
    return found


def measure(args: argparse.Namespace) -> list[dict]:
    if args.images < 20 or args.workers < 1:
        raise InputError('--images and --workers: give 20 images or more, and 1 worker or more')
    height, width = args.shape
    setting = dict(images=args.images, workers=args.workers, height=height, width=width) | machine.describe('cpu')
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source, reference = Path(folder, 'images'), Path(folder, 'one')
        draw(source, args.images, args.shape)
        runs = {
            'one process': lambda output: one_process(args.file, source, output),
            f'Ray, {args.workers} workers': lambda output: with_ray(args.file, source, output, args.workers),
            f'Ray, {args.workers} workers, one killed': lambda output: with_ray(
                args.file, source, output, args.workers, args.images // 10
            ),
        }
        for number, (method, run) in enumerate(runs.items()):
            output = Path(folder, f'ray{number}') if number else reference
            start = time.perf_counter()
            run(output)
            seconds = time.perf_counter() - start
            files = sorted(output.iterdir())
            times = [file.stat().st_mtime for file in files]
            same = sum(file.read_bytes() == (reference / file.name).read_bytes() for file in files)
            rate = (len(files) - 1) / (max(times) - min(times))
            rows.append(dict(method=method, labelled=len(files), same=same, seconds=seconds, images_s=rate) | setting)
    shown = [
        [row['method'], row['labelled'], row['same'], f'{row["seconds"]:.1f}', f'{row["images_s"]:.1f}'] for row in rows
    ]
    print(markdown(['method', 'images', 'files equal', 'with start, s', 'images/s'], 'lrrrr', shown))
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('file', metavar='FILE', help='exported file')
    parser.add_argument('--images', type=int, default=2000, metavar='N', help='default: %(default)s')
    parser.add_argument('--shape', type=int, nargs=2, default=(128, 256), metavar=('H', 'W'), help='of the images')
    parser.add_argument('--workers', type=int, default=2, metavar='N', help='of Ray (default: %(default)s)')


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('cluster', __doc__, add_arguments, measure, argv)


if __name__ == '__main__':
    sys.exit(main())
