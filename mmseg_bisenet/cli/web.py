"""``mmseg-bisenet web``: a page in the browser that labels photographs, videos and pictures of the camera."""

import argparse
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from mmseg_bisenet import install
from mmseg_bisenet.cli.predict import find_model, logged
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    from mmseg_bisenet.predict import Predictor

STREETS = (20, 18, 22)  # seeds of the streets to try


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.predict.predictor import SHIPPED

    parser.add_argument(
        '--model',
        nargs='+',
        default=[SHIPPED],
        metavar='NAME',
        help=f'names of models, and exported files, that the page offers (default: {SHIPPED})',
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to serve on (default: %(default)s, this machine)')
    parser.add_argument('--port', type=int, default=7860, help='(default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    require_port(args.host, args.port)
    with logged():
        load = choices(args.model)
    with tempfile.TemporaryDirectory(prefix='mmseg-bisenet-', ignore_cleanup_errors=True) as place:
        folder = Path(place)
        os.environ['GRADIO_TEMP_DIR'] = str(folder / 'gradio')
        for name in ('NO_PROXY', 'no_proxy'):  # Gradio asks the page whether it runs
            os.environ[name] = f'{args.host},localhost,{os.environ.get(name, "")}'
        with install.needing('web', 'mmseg-bisenet web'):
            from mmseg_bisenet.predict import web
        web.launch(web.build(load, draw_streets(folder), folder), args.host, args.port)
        print(f'http://{args.host}:{args.port} (Ctrl-C ends)', flush=True)
        Event().wait()
    return 0


def require_port(host: str, port: int) -> None:
    """Raises:
    InputError: a server cannot listen there.
    """
    if not 1 <= port <= 65535:
        raise InputError(f'--port {port}: give a number from 1 to 65535')
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        reason = str(error.strerror).partition(' (')[0]
        raise InputError(f'{host}:{port} cannot be served on ({reason}); give another --port or --host') from error


def choices(models: Sequence[str]) -> 'dict[str, Callable[[], Predictor]]':
    """By the names that the page offers, what gives the predictor: exported files, and models in each runtime.

    The first runtime of each model is loaded now.

    Raises:
        InputError: no such model, or it cannot be loaded; two files have the same name.
    """
    from mmseg_bisenet import model_index
    from mmseg_bisenet.deploy.metadata import is_exported
    from mmseg_bisenet.predict import Predictor
    from mmseg_bisenet.predict.model import installed

    load: dict[str, Callable[[], Predictor]] = {}
    for model in dict.fromkeys(map(find_model, models)):
        runtimes = installed() if model in model_index.entries() else ['torch']
        found = {f'{model}, {runtime}': partial(Predictor, model, runtime=runtime) for runtime in runtimes}
        if is_exported(model):
            found = {Path(model).name: partial(Predictor, model)}
        if again := load.keys() & found:
            raise InputError(f'--model {model}: another model is called {again.pop()} too; rename the file')
        load |= {name: cache(predictor) for name, predictor in found.items()}
        load[next(iter(found))]()
    return load


def draw_streets(folder: Path) -> list[Path]:
    """Drawn streets, as files of the folder."""
    from mmseg_bisenet.miniscapes import draw_scene
    from mmseg_bisenet.pixels import write_pixels

    paths = [folder / f'street{number}.png' for number in range(1, len(STREETS) + 1)]
    for path, seed in zip(paths, STREETS, strict=True):
        write_pixels(path, draw_scene(seed, (360, 640))[0])
    return paths
