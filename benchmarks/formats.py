"""Size, equal labels and time of one network in each file format for CPUs, each file in an environment of its own.

The libraries of the formats do not share an environment: those of ``make env`` and of ``make test-extras`` are used. A
file is exported to logits and timed by ``mmseg-bisenet verify`` in its environment, from pixels to labels, the files in
turns. The labels that are compared with PyTorch's are those of the export's own verification.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2

from benchmarks import command
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.deploy.backends import FORMATS
from mmseg_bisenet.deploy.backends.base import default_threads
from mmseg_bisenet.deploy.metadata import read
from mmseg_bisenet.deploy.packages import EXTRAS
from mmseg_bisenet.deploy.quantize import ENOUGH
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene

ROOT = Path(__file__).resolve().parents[1]
FILES = ('onnx:fp32', 'onnx:int8', 'openvino:fp32', 'openvino:bf16', 'openvino:int8', 'vnni:int8')
FILES += ('litert:fp32', 'litert:fp16', 'litert:int8', 'executorch:fp32', 'ncnn:fp32')
FIGURES = dict(size_mb='.1f', same_labels='.3f', ms='.1f')


def measure(model: str, shape: tuple[int, int], names: Sequence[str], rounds: int, calibration: int) -> list[dict]:
    """Export and time each file.

    Args:
        names: of the files, as ``FORMAT:PRECISION``.
        rounds: how often each file is timed; the median counts.
        calibration: drawn streets for int8.

    Returns:
        A row for each: size in MB, percentage of labels equal to those of PyTorch in fp32, milliseconds an image.

    Raises:
        InputError: an environment is missing, or an export or a verification fails.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        streets = Path(folder, 'streets')
        streets.mkdir()
        for seed in range(calibration if any(name.endswith(':int8') for name in names) else 0):
            cv2.imwrite(f'{streets}/{seed}.png', draw_scene(seed, shape)[0])
        rows, files = [], []
        for name in names:
            format, _, precision = name.partition(':')
            arguments = ['export', model, '--format', format, '--precision', precision, '--output-kind', 'logits']
            arguments += ['--shape', *map(str, shape), '--output', folder]
            arguments += ['--calibration', str(streets)] if precision == 'int8' else []
            done = call(format, *arguments)
            file = read(Path(found(r'^(.+)  [\d.]+ MB$', done.stdout)))
            runtime = 'mmseg_bisenet' if format == 'vnni' else file.backend.packages[0]
            rows.append(
                dict(format=format, precision=precision, runtime=f'{runtime} {file.metadata["versions"][runtime]}')
                | dict(size_mb=sum(part.stat().st_size for part in file.backend.parts(file.path)) / 1e6)
                | dict(same_labels=float(found(r'([\d.]+)% of the labels equal', done.stderr)))
            )
            files.append((format, str(file.path)))
        times = [[timed(*file) for file in files] for _ in range(rounds)]
    return [row | dict(ms=statistics.median(laps)) for row, laps in zip(rows, zip(*times, strict=True), strict=True)]


def timed(format: str, file: str) -> float:
    """Milliseconds an image."""
    done = call(format, 'verify', file, '--threads', str(default_threads()))
    return float(found(r'^time +([\d.]+) ms', done.stdout))


def call(format: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run ``mmseg-bisenet`` of this checkout in the environment of a format.

    Raises:
        InputError: no such environment, or the command fails.
    """
    python = Path(sys.executable)
    if extra := EXTRAS.get(FORMATS[format].packages[0]):  # the others are in the environment of `make env`
        python = ROOT / f'.venv-{extra}' / 'bin' / 'python'
        if not python.is_file():
            raise InputError(f'format {format}: no environment .venv-{extra}; run: make test-extras')
    environment = os.environ | dict(PYTHONPATH=str(ROOT))
    words = [str(python), '-m', 'mmseg_bisenet.cli', *arguments]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        problem = done.stderr.strip().rpartition('\n')[2].removeprefix('mmseg-bisenet: error: ')
        raise InputError(f'mmseg-bisenet {arguments[0]} of format {format}: {problem}')
    return done


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match, text
    return match[1]


# -- command -----------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', nargs='?', default='bisenetv2_camvid', help='name of a model (default: %(default)s)')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(512, 1024), metavar=('H', 'W'), help='of the image (default: 512 1024)'
    )
    parser.add_argument('--files', nargs='+', default=FILES, metavar='FORMAT:PRECISION', help='what to measure')
    parser.add_argument('--rounds', type=int, default=5, help='of which the median counts (default: %(default)s)')
    parser.add_argument('--calibration', type=int, default=ENOUGH, help='drawn streets for int8 (default: %(default)s)')


def run(args: argparse.Namespace) -> list[dict]:
    if args.rounds < 1:
        raise InputError(f'--rounds {args.rounds}: give 1 or more')
    for name in args.files:
        format, _, precision = name.partition(':')
        if format not in FORMATS or precision not in FORMATS[format].precisions:
            raise InputError(f'--files {name}: give FORMAT:PRECISION as {", ".join(FILES)}')
    rows = measure(args.model, tuple(args.shape), args.files, args.rounds, args.calibration)
    setting: dict[str, object] = dict(machine=machine.name('cpu'), threads=default_threads())
    print(machine.line(setting))
    names = ('format', 'precision', 'runtime')
    cells = [[*(row[key] for key in names), *(f'{row[key]:{form}}' for key, form in FIGURES.items())] for row in rows]
    print(markdown([*names, 'MB', 'same labels, %', 'ms'], 'lllrrr', cells))
    size = dict(model=args.model, height=args.shape[0], width=args.shape[1], rounds=args.rounds)
    return [size | dict(calibration=args.calibration) | setting | row for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('formats', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
