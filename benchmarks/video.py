"""Frames a second of a video from the file to the file, against the network alone and MMSegmentation's video loop.

The video is H.264, made of the images of a folder. All methods run the shipped model on the same frames, in turns:

- ``network alone``: :class:`mmseg_bisenet.Predictor` on frames that are in memory.
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
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict.image import read_image
from mmseg_bisenet.predict.pipeline import Pipeline
from mmseg_bisenet.predict.predictor import SHIPPED
from mmseg_bisenet.predict.sinks import SINKS, Folder
from mmseg_bisenet.predict.sources import find_sources
from mmseg_bisenet.predict.video import require_av

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


def measure(
    folder: str, shape: tuple[int, int], seconds: float, rounds: int, runtime: str | None, precision: str | None
) -> list[dict[str, object]]:
    """Run all methods in turns.

    Returns:
        A row for each: frames a second (median of the rounds), and their ratios to the network alone and to stock.

    Raises:
        InputError: the folder has no image, or the runtime does not run here.
    """
    frames = read_frames(folder, shape, round(FPS * seconds))
    predictor = Predictor(runtime=runtime, precision=precision, height=shape[0])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        video = Path(name, 'drive.mp4')
        write_video(video, frames)
        works = {
            'network alone': partial(network_alone, predictor, frames),
            'predict': partial(predict, predictor, video, Path(name, 'predicted')),
            'stock loop': partial(stock_loop, in_thread(stock_model, predictor), video, Path(name, 'stock.avi')),
        }
        in_thread(network_alone, predictor, frames[:5])  # warm
        speeds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds):
            for method, work in works.items():
                speeds[method].append(in_thread(speed, work))
    fps = {method: median(found) for method, found in speeds.items()}
    about = dict(runtime=predictor.runtime, precision=predictor.precision)
    return [
        dict(method=method)
        | (dict(runtime='stock', precision='fp32') if method == 'stock loop' else about)
        | dict(fps=value, to_network=value / fps['network alone'], to_stock=value / fps['stock loop'])
        for method, value in fps.items()
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
    parser.add_argument('--runtime', help='default: the fastest that is installed')
    parser.add_argument('--precision', help='default: fp32')


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
    return [about | setting | row for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('video', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
