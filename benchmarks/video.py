"""Frames a second of a video from the file to the file, against the network alone and MMSegmentation's video loop.

The video is H.264, made of the images of a folder. All methods run the shipped model on the same frames, in turns:

- ``network alone``: :class:`mmseg_bisenet.Predictor` on frames that are in memory. In int8 it runs a file, which is
  exported first and calibrated with the frames.
- ``predict``: what ``mmseg-bisenet predict`` does, which also decodes, draws the overlay and encodes it as H.264.
- ``stock loop``: the steps of MMSegmentation's ``demo/video_demo.py`` with stock's network and the same weights:
  OpenCV decodes, ``inference_model``, the visualizer draws, OpenCV encodes Motion JPEG.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmseg.apis import inference_model
from mmseg.apis.inference import show_result_pyplot
from torch import nn

from benchmarks import command
from mmseg_bisenet import Predictor, model_index
from mmseg_bisenet.benchmark import latency, machine
from mmseg_bisenet.benchmark.stock import stock
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.deploy.backends import RUNTIMES, FileBackend
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.quantize import MOST
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict.image import read_image
from mmseg_bisenet.predict.pipeline import Pipeline
from mmseg_bisenet.predict.predictor import SHIPPED
from mmseg_bisenet.predict.sinks import SINKS, Folder
from mmseg_bisenet.predict.sources import find_sources
from mmseg_bisenet.predict.video import require_av
from mmseg_bisenet.zoo import get_model

FPS = 30
STOCK_FRAMES = 10  # of the video, a round: its loop takes up to seconds a frame


def read_frames(folder: str, shape: tuple[int, int], count: int) -> list[np.ndarray]:
    """``count`` images of a folder, resized to ``shape`` (height, width); after the last one, the first follows.

    Raises:
        InputError: the folder has no image.
    """
    paths = [source.path for source in find_sources([folder]) if source.path and not source.moving]
    if not paths:
        raise InputError(f'{folder} has no image; name a folder of images')
    images = [cv2.resize(read_image(path), shape[::-1], interpolation=cv2.INTER_AREA) for path in paths[:count]]
    return list(islice(cycle(images), count))


def write_video(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write frames (H, W, 3), BGR, with even sides, as H.264."""
    av = require_av()
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv420p'
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='bgr24')))
        container.mux(stream.encode())


# -- methods -----------------------------------------------------------------------------------------------------------


def network_alone(predictor: Predictor, frames: Sequence[np.ndarray]) -> int:
    """Label the frames; their number."""
    for frame in frames:
        predictor(frame)
    return len(frames)


def predict(predictor: Predictor, video: Path, folder: Path) -> int:
    """Label a video and write its overlay; the number of frames."""
    sources = find_sources([video])
    sinks = [SINKS['video'](Folder(folder, True, [video]))]
    report = Pipeline(sources, Event()).run(predictor.label, sinks, lambda *_: None)
    if report.failures:
        raise InputError(report.failures[0])
    return report.frames


def stock_loop(model: nn.Module, video: Path, output: Path) -> int:
    """Label and draw the first frames of a video as MMSegmentation does; their number."""
    reader = cv2.VideoCapture(str(video))
    size = [round(reader.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    writer = cv2.VideoWriter(str(output), cv2.VideoWriter_fourcc(*'MJPG'), FPS, size)
    frames = 0
    while frames < STOCK_FRAMES and (frame := reader.read()[1]) is not None:
        writer.write(show_result_pyplot(model, frame, inference_model(model, frame), show=False))
        frames += 1
    writer.release()
    reader.release()
    return frames


def in_thread(work: Callable, *args: object) -> Any:
    """What ``work`` returns, called in a thread that ends: one that has computed slows others down (see Predictor)."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *args).result()


def speed(work: Callable[[], int]) -> float:
    """Frames a second."""
    start = time.perf_counter()
    return work() / (time.perf_counter() - start)


def stock_model(predictor: Predictor) -> nn.Module:
    """Stock's segmentor with the weights of the shipped model, as ``init_model`` returns it."""
    entry = model_index.find(SHIPPED)
    cfg = Config.fromfile(entry.config)
    model = latency.build(Config(dict(model=stock(cfg.model.to_dict()))), str(entry.weights), 'cpu')
    model.cfg, model.dataset_meta = cfg, dict(classes=predictor.classes, palette=predictor.palette)
    return model


def load(runtime: str | None, precision: str | None, frames: Sequence[np.ndarray], folder: str | Path) -> Predictor:
    """The shipped model in a runtime.

    Raises:
        InputError: the runtime does not run here, has no file for int8, or there are too few frames to calibrate it.
    """
    height, width = frames[0].shape[:2]
    if precision != 'int8':
        return Predictor(runtime=runtime, precision=precision, height=height)
    backend = RUNTIMES.get(str(runtime))
    if not isinstance(backend, FileBackend) or 'int8' not in backend.precisions:
        names = [name for name, backend in RUNTIMES.items() if 'int8' in backend.precisions]
        raise InputError(f'--precision int8 needs --runtime, and {runtime} has no int8; choose from {", ".join(names)}')
    images = list({id(frame): frame for frame in frames}.values())[:MOST]  # they repeat
    segmentor = get_model(SHIPPED, pretrained=True)
    return Predictor(export(segmentor, backend.format, 'int8', (height, width), folder, calibration=images))


def measure(
    folder: str,
    shape: tuple[int, int],
    seconds: float,
    rounds: int,
    runtimes: Sequence[str | None],
    precision: str | None,
) -> list[dict[str, object]]:
    """Run all methods in turns.

    Returns:
        A row for each: frames a second (median of the rounds), and their ratios to the network alone in that runtime
        and to stock.

    Raises:
        InputError: the folder has no image, or as :func:`load`.
    """
    frames = read_frames(folder, shape, round(FPS * seconds))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        predictors = [in_thread(load, runtime, precision, frames, name) for runtime in runtimes]
        video = Path(name, 'drive.mp4')
        write_video(video, frames)
        model = in_thread(stock_model, predictors[0])
        works: dict[tuple[str, str, str], Callable[[], int]] = {}
        for predictor in predictors:
            runtime, computed = predictor.runtime, predictor.precision
            works['network alone', runtime, computed] = partial(network_alone, predictor, frames)
            works['predict', runtime, computed] = partial(predict, predictor, video, Path(name, 'predicted'))
            in_thread(network_alone, predictor, frames[:5])  # warm
        works['stock loop', 'stock', 'fp32'] = partial(stock_loop, model, video, Path(name, 'stock.avi'))
        speeds: dict[tuple[str, str, str], list[float]] = {key: [] for key in works}
        for _ in range(rounds):
            for key, work in works.items():
                speeds[key].append(in_thread(speed, work))
    fps = {key: median(found) for key, found in speeds.items()}
    return [
        dict(method=method, runtime=runtime, precision=computed, fps=value)
        | dict(to_network=value / fps.get(('network alone', runtime, computed), next(iter(fps.values()))))
        | dict(to_stock=value / fps['stock loop', 'stock', 'fp32'])
        for (method, runtime, computed), value in fps.items()
    ]


# -- command -----------------------------------------------------------------------------------------------------------

FIGURES = dict(fps='.2f', to_network='.2f', to_stock='.2f')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='of the images that the video is made of')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(360, 480), metavar=('H', 'W'), help='even (default: 360 480)'
    )
    parser.add_argument('--seconds', type=float, default=20, help=f'of video, at {FPS} fps (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=3, help='runs of each method (default: %(default)s)')
    parser.add_argument('--runtime', nargs='+', default=[None], help='default: the fastest that is installed')
    parser.add_argument('--precision', help='default: fp32; in int8 files are exported, calibrated with the images')


def run(args: argparse.Namespace) -> list[dict]:
    if min(args.shape) < 64 or any(side % 2 for side in args.shape):
        raise InputError('--shape must be 64 64 or more, and even, as H.264 wants')
    if args.seconds * FPS < 1 or args.rounds < 1:
        raise InputError(f'--seconds must be {1 / FPS:.2f} or more, and --rounds 1 or more')
    rows = measure(args.folder, tuple(args.shape), args.seconds, args.rounds, args.runtime, args.precision)
    setting = machine.describe('cpu')
    print(machine.line(setting))
    names = ('method', 'runtime', 'precision')
    cells = [[*(row[name] for name in names), *(f'{row[key]:{form}}' for key, form in FIGURES.items())] for row in rows]
    print(markdown([*names, 'fps', 'to network alone', 'to stock loop'], 'lllrrr', cells))
    height, width = args.shape
    about = dict(height=height, width=width, seconds=args.seconds, rounds=args.rounds)
    about['asked_precision'] = args.precision or ''
    return [about | setting | row for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('video', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
