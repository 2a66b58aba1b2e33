"""Clients at the same time against ``examples/server.py`` on loopback: answers, latency, images a second, memory.

The server is a process of its own, with an exported file. Each client is a thread that sends its requests one after the
other, each over a new connection. All answers are compared with the labels of :class:`mmseg_bisenet.Predictor`. Clients
and server share the cores of one machine.
"""

import argparse
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from benchmarks import command
from mmseg_bisenet import Predictor
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.memory import resident_bytes
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene

SERVER = Path(__file__).resolve().parents[1] / 'examples' / 'server.py'
IMAGES = 10  # different ones
TIMEOUT = 60  # seconds; a request without an answer is lost


@contextmanager
def serving(file: str) -> Iterator[tuple[int, int]]:
    """The port and the process of the server.

    Raises:
        InputError: it does not start.
    """
    environment = os.environ | dict(PYTHONPATH=str(SERVER.parents[1]))
    words = [sys.executable, SERVER, file, '--port', '0']
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline() if process.stdout else ''
        if not address.startswith('http://'):
            raise InputError(f'examples/server.py does not start with {file}; its error is above')
        yield int(address.rpartition(':')[2]), process.pid
    finally:
        process.terminate()
        process.wait(30)


def post(port: int, content: bytes) -> tuple[float, int, bytes]:
    """Milliseconds, status and body; status 0 if there is no answer."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=TIMEOUT)
    try:
        connection.request('POST', '/labels', content)
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (OSError, http.client.HTTPException):
        status, body = 0, b''
    finally:
        connection.close()
    return 1e3 * (time.perf_counter() - start), status, body


def load_server(
    port: int, process: int, uploads: Sequence[bytes], labels: Sequence[np.ndarray], clients: int, requests: int
) -> dict:
    """The row of so many clients.

    Raises:
        InputError: an answer has other labels.
    """
    before, start = resident_bytes(process) / 1e6, time.perf_counter()

    def client(number: int) -> list[tuple[float, int, bytes]]:
        return [post(port, uploads[(number + request) % len(uploads)]) for request in range(requests)]

    with ThreadPoolExecutor(clients) as pool:
        answers = [*pool.map(client, range(clients))]
    seconds = time.perf_counter() - start
    for number, own in enumerate(answers):
        for request, (_, status, body) in enumerate(own):
            wanted = labels[(number + request) % len(labels)]
            if status == 200 and not np.array_equal(decoded(body), wanted):
                raise InputError('the server gave other labels than the Predictor; report it')
    every = [answer for own in answers for answer in own]
    times = [milliseconds for milliseconds, status, _ in every if status == 200]
    return dict(
        clients=clients,
        requests=requests,
        answered=len(times),
        refused=sum(status >= 400 for _, status, _ in every),
        lost=sum(status == 0 for _, status, _ in every),
        p50_ms=float(np.percentile(times, 50)),
        p99_ms=float(np.percentile(times, 99)),
        images_s=len(times) / seconds,
        before_mb=before,
        after_mb=resident_bytes(process) / 1e6,
    )


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def measure(args: argparse.Namespace) -> list[dict]:
    if min(args.clients) < 1 or args.requests < 1:
        raise InputError('--clients and --requests: give 1 or more')
    predictor = Predictor(args.file)
    images = [draw_scene(seed, args.shape)[0] for seed in range(IMAGES)]
    uploads = [cv2.imencode('.jpg', image)[1].tobytes() for image in images]
    labels = [predictor(decoded(upload)).labels for upload in uploads]
    rows = []
    with serving(args.file) as (port, process):
        for upload in uploads:  # warm-up
            post(port, upload)
        for clients in args.clients:
            rows.append(load_server(port, process, uploads, labels, clients, args.requests))
    height, width = args.shape
    setting = dict(height=height, width=width) | machine.describe('cpu')
    header = ['clients', 'answered', 'refused', 'lost', 'p50_ms', 'p99_ms', 'images_s', 'before_mb', 'after_mb']
    shown = [[f'{row[name]:.1f}' if isinstance(row[name], float) else row[name] for name in header] for row in rows]
    print(markdown(header, 'r' * len(header), shown))
    return [row | setting for row in rows]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('file', metavar='FILE', help='exported file of one shape')
    parser.add_argument('--clients', type=int, nargs='+', default=[1, 50], metavar='N', help='default: 1 50')
    parser.add_argument('--requests', type=int, default=10, metavar='N', help='of each client (default: %(default)s)')
    parser.add_argument('--shape', type=int, nargs=2, default=(360, 480), metavar=('H', 'W'), help='of the images')


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('clients', __doc__, add_arguments, measure, argv)


if __name__ == '__main__':
    sys.exit(main())
