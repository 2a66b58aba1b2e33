"""``mmseg-bisenet predict SOURCE…``: label images, videos, cameras and streams, and write what is asked for."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

from mmseg_bisenet.cli import ending
from mmseg_bisenet.cli.overwrite import add_overwrite
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input, require_writable

if TYPE_CHECKING:
    from mmseg_bisenet.predict.pipeline import Report
    from mmseg_bisenet.predict.result import Result
    from mmseg_bisenet.predict.sinks import Sink
    from mmseg_bisenet.predict.sources import Source

FOR_IMAGES, FOR_VIDEOS = ('overlay', 'labels'), ('video',)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.deploy.backends import RUNTIMES
    from mmseg_bisenet.deploy.precision import NAMES
    from mmseg_bisenet.predict.predictor import SHIPPED
    from mmseg_bisenet.predict.sinks import SINKS

    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SOURCE',
        help='image, folder, glob, video, number of a camera, address of a stream (rtsp://…), or .txt list of these',
    )
    parser.add_argument(
        '--model',
        default=SHIPPED,
        metavar='NAME',
        help='name of a model, path of a config, or exported file (default: %(default)s)',
    )
    parser.add_argument('--checkpoint', metavar='FILE', help='default: the weights of the model index')
    parser.add_argument('--runtime', choices=list(RUNTIMES), help='default: the fastest that is installed')
    parser.add_argument('--precision', choices=list(NAMES), help='default: that of an exported file, or fp32')
    parser.add_argument(
        '--height',
        type=int,
        metavar='PIXELS',
        help='height of the network input (default: that of the test pipeline)',
    )
    parser.add_argument(
        '--save',
        nargs='+',
        choices=list(SINKS),
        help='default: overlay and labels of images; video of videos, cameras and streams',
    )
    parser.add_argument('--show', action='store_true', help='show the overlay in a window; q ends')
    parser.add_argument('--output', default='predicted', metavar='DIR', help='folder to write (default: %(default)s)')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    stop = Event()
    try:
        return _run(args, stop)
    finally:
        stop.set()


def _run(args: argparse.Namespace, stop: Event) -> int:
    from mmseg_bisenet.predict import Predictor
    from mmseg_bisenet.predict.pipeline import Pipeline
    from mmseg_bisenet.predict.predictor import check_height
    from mmseg_bisenet.predict.sinks import Folder, check_outputs
    from mmseg_bisenet.predict.sources import LeftOut, find_sources

    check_height(args.height)
    require_writable('--output', args.output)
    sources = find_sources(args.sources, but=Path(args.output))
    searched = [source for source in sources if not isinstance(source, LeftOut)]
    inputs = [source.path for source in searched] + [args.model, args.checkpoint]
    folder = Folder(Path(args.output), args.overwrite, filter(None, inputs))
    sinks = _sinks(args, searched, folder, stop)
    check_outputs(folder, sinks, searched)
    model = find_model(args.model, args.checkpoint)
    pipeline = Pipeline(sources, stop)
    with logged():
        predictor = Predictor(
            model,
            args.checkpoint,
            runtime=args.runtime,
            precision=args.precision,
            height=args.height,
        )
    print(f'{args.model}: runtime {predictor.runtime}, {predictor.precision}, height {predictor.height}', flush=True)
    with _interrupt(stop) as came, _progress(sources, args.output) as progress:
        report = pipeline.run(predictor.label, sinks, progress)
    if report.failures and not (report.frames or came):
        raise report.error()
    _summary(report, args.output)
    if came:
        print(ending.line(came[0]), file=sys.stderr)
        return ending.STATUSES[came[0]]
    return int(bool(report.failures))


def find_model(model: str, checkpoint: str | None = None) -> str:
    """A name of the index, an exported file, or the path of a config.

    Raises:
        InputError: there is none, or no such checkpoint.
    """
    from mmseg_bisenet import model_index
    from mmseg_bisenet.deploy.metadata import is_exported

    if checkpoint:
        from mmseg_bisenet.cli.preflight import require_checkpoint

        require_checkpoint(checkpoint)
    if is_exported(model):
        check_input(model)
    if is_exported(model) and not Path(model).is_file():
        raise InputError(f'exported file {model} does not exist; write it with mmseg-bisenet export')
    if model in model_index.entries() or is_exported(model):
        return model
    return str(model_index.find_config(model))


def _sinks(args: argparse.Namespace, sources: Sequence['Source'], folder: Any, stop: Event) -> list['Sink']:
    from mmseg_bisenet.predict.sinks import SINKS, Window

    moving = {source.moving for source in sources}
    if args.save:
        sinks = [SINKS[name](folder) for name in dict.fromkeys(args.save)]
        if 'video' in args.save and True not in moving:
            raise InputError('--save video: no source is a video, a camera or a stream; save overlay instead')
    else:
        sinks = [SINKS[name](folder) for name in FOR_IMAGES if False in moving]
        for sink in sinks:
            sink.moving = False
        sinks += [SINKS[name](folder) for name in FOR_VIDEOS if True in moving]
    return [*sinks, *([Window(folder, stop.set)] if args.show else [])]


@contextmanager
def logged() -> Iterator[None]:
    """Print what the package logs: that a model is exported, which takes a while."""
    handler, logger = logging.StreamHandler(sys.stderr), logging.getLogger('mmseg_bisenet')
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _interrupt(stop: Event) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM sets ``stop`` and is in the list that this yields; a second one ends as usual."""
    came: list[int] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        stop.set()
        if len(came) > 1:
            restore()
            signal.raise_signal(signum)

    def restore() -> None:
        for signum, before in handlers.items():
            signal.signal(signum, before)

    handlers = {signum: signal.signal(signum, handler) for signum in ending.NAMES}
    try:
        yield came
    finally:
        restore()


@contextmanager
def _progress(sources: Sequence['Source'], output: str) -> Iterator[Callable[['Report', 'Result'], None]]:
    """What is called after each frame: prints a line for an image, or moves a bar if stdout is a terminal."""

    def print_shares(report: 'Report', result: 'Result') -> None:
        if result.time is None:
            share = sorted(result.share().items(), key=lambda item: -item[1])[:4]
            print(f'{result.name}:', ', '.join(f'{name} {part:.0%}' for name, part in share), flush=True)

    if not (sys.stdout and sys.stdout.isatty() and find_spec('rich')):  # there is no stdout if the shell closed it
        yield print_shares
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    counts = [source.count() for source in sources]
    total = None if None in counts else sum(filter(None, counts))
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[text]}'), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(output, total=total, text='')

        def move(report: 'Report', result: 'Result') -> None:
            text = f'{report.frames / report.seconds:.1f} fps, {report.dropped} dropped'
            bar.update(task, completed=report.frames, text=text)

        yield move


def _summary(report: 'Report', output: str) -> None:
    fps = report.frames / max(report.seconds, 1e-9)
    dropped = f', {report.dropped} dropped' if report.dropped else ''
    print(f'frames: {report.frames} in {report.seconds:.2f} s, {fps:.1f} fps{dropped}; written to {output}')
    if report.frames:
        print(report.table(), flush=True)
    for failure in report.failures:
        print(f'mmseg-bisenet: error: {failure}', file=sys.stderr)
