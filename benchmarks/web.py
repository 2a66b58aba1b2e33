"""Photographs that many clients upload to the page of ``mmseg-bisenet web`` at the same time, on this machine.

Each client uploads the photograph, asks for its labels, waits for the answer, and begins again, after a refusal one
second later. An answer has the labels. A refusal is a message: the queue is full. Everything else is lost.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import numpy as np

from benchmarks import command
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.memory import resident_bytes
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.errors import InputError

KINDS = ('answered', 'refused', 'lost')
PATIENCE = 60.0  # seconds for one request
FULL = 503  # the status of a refusal
PAUSE = 1.0  # seconds after a refusal


@contextmanager
def serving(script: str, model: str) -> Iterator[tuple[str, int]]:
    """The address of a page, and the id of its process.

    Raises:
        InputError: the command ends without serving.
    """
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    arguments = [script, 'web', '--model', model, '--port', str(port)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if not (line := process.stdout.readline()):
                raise InputError(f'{script} web serves no page; see its message')
            yield line.split()[0], process.pid
        finally:
            process.terminate()


def choice(page: str) -> str:
    """The first model that the page offers."""
    with urllib.request.urlopen(f'{page}/config', timeout=PATIENCE) as answer:
        components = json.load(answer)['components']
    return next(part['props']['value'] for part in components if part['type'] == 'dropdown')


def ask(page: str, photograph: bytes, model: str) -> str:
    """Upload a photograph and ask for its labels; one of ``KINDS``."""
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n%s\r\n--b--\r\n' % photograph
    try:
        (path,) = json.loads(_post(f'{page}/gradio_api/upload', form, 'multipart/form-data; boundary=b'))
        data = dict(data=[dict(path=path, meta=dict(_type='gradio.FileData')), model])
        url = f'{page}/gradio_api/call/photograph'
        event = json.loads(_post(url, json.dumps(data).encode(), 'application/json'))['event_id']
        with urllib.request.urlopen(f'{url}/{event}', timeout=PATIENCE) as answer:
            return 'answered' if b'event: complete' in answer.read() else 'lost'
    except HTTPError as error:
        return 'refused' if error.code == FULL and error.read() else 'lost'
    except (OSError, ValueError):
        return 'lost'


def _post(url: str, body: bytes, kind: str) -> bytes:
    request = urllib.request.Request(url, body, {'Content-Type': kind})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


def measure(page: str, photograph: bytes, clients: int, requests: int) -> dict[str, float]:
    """Number of requests of each kind, p50 and p99 of the answered ones in seconds, and answers a second."""
    model = choice(page)

    def timed(_: int) -> tuple[str, float]:
        start = time.perf_counter()
        kind = ask(page, photograph, model)
        seconds = time.perf_counter() - start
        if kind == 'refused':
            time.sleep(PAUSE)
        return kind, seconds

    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        outcomes = list(pool.map(timed, range(requests)))
    seconds = time.perf_counter() - begin
    counts = Counter(kind for kind, _ in outcomes)
    times = [spent for kind, spent in outcomes if kind == 'answered'] or [float('nan')]
    p50, p99 = np.percentile(times, [50, 99])
    return {kind: counts[kind] for kind in KINDS} | dict(p50_s=p50, p99_s=p99, images_s=counts['answered'] / seconds)


# -- command -----------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('photograph', help='an image file')
    parser.add_argument(
        '--script', default='mmseg-bisenet', help='of an environment with Gradio (default: %(default)s)'
    )
    parser.add_argument('--model', default='bisenetv2_camvid', help='name or exported file (default: %(default)s)')
    parser.add_argument('--clients', type=int, nargs='+', default=[50, 100], help='at the same time (default: 50 100)')
    parser.add_argument('--requests', type=int, default=200, help='of all clients (default: %(default)s)')


def run(args: argparse.Namespace) -> list[dict]:
    if min(*args.clients, args.requests) < 1:
        raise InputError('--clients and --requests must be 1 or more')
    try:
        photograph = Path(args.photograph).read_bytes()
    except OSError as error:
        raise InputError(f'photograph {args.photograph} cannot be read ({error.strerror}); name a file') from error
    rows = []
    with serving(args.script, args.model) as (page, process):
        measure(page, photograph, 1, 3)  # warm
        for clients in args.clients:
            before = resident_bytes(process) / 1e6
            row = dict(clients=clients, requests=args.requests) | measure(page, photograph, clients, args.requests)
            rows.append(row | dict(before_mb=before, after_mb=resident_bytes(process) / 1e6))
    setting = machine.describe('cpu')
    print(machine.line(setting))
    print(markdown(list(rows[0]), 'r' * len(rows[0]), [[f'{value:.4g}' for value in row.values()] for row in rows]))
    return [row | setting for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('web', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
