"""An HTTP server that labels images with an exported file. It needs no PyTorch.

    pip install ".[run]" fastapi uvicorn
    python examples/server.py exported/NAME_fp32_360x480.onnx --port 8000

    curl --data-binary @street.jpg localhost:8000/labels > labels.png    # class indices, of the image's size
    curl --data-binary @street.jpg localhost:8000/shares                 # {"sky": 0.21, "building": 0.34, ...}

Images that wait at the same time run as one batch, one image a core. What cannot be answered is refused with one
message: 408 too slow, 413 too large, 422 no image or a broken one, 503 too many requests at a time.
"""

import argparse
import asyncio
import ctypes
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.metadata import is_exported
from mmseg_bisenet.errors import InputError, line
from mmseg_bisenet.predict.image import decode_image

MEGABYTES = 20  # of an upload
SECONDS = 60  # that an upload may take
GRACE = 3  # seconds to finish what is being answered, once the server is stopped
WAITING = 64  # requests at a time, each of which may hold an upload
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1

Encode = Callable[[np.ndarray], Response]


class Batches:
    """Images of several requests -> labels, as many at a time as there are cores."""

    def __init__(self, file: str) -> None:
        self.segment = load(file, throughput=True)
        self._waiting: asyncio.Queue = asyncio.Queue()

    async def labels(self, image: np.ndarray) -> np.ndarray:
        """image: (H, W, 3) uint8, BGR, of the file's shape -> (H, W) uint8."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((image, answer))
        return await answer

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < CORES and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            images, answers = zip(*batch, strict=True)
            try:
                found = await asyncio.to_thread(self.segment, np.stack(images))
            except Exception as error:  # the next batch may succeed
                found = [error] * len(answers)
            for answer, labels in zip(answers, found, strict=True):
                if not answer.done():  # cancelled
                    put = answer.set_exception if isinstance(labels, Exception) else answer.set_result
                    put(labels)


def build(file: str) -> FastAPI:
    """The application.

    Raises:
        InputError: the file does not load, or is for images of any size.
    """
    batches = Batches(file)
    segment = batches.segment
    if segment.dynamic:  # `prepare` resizes images to one size, which changes the shape of most
        raise InputError(f'{file} was exported with --dynamic, and images run as batches of one size; export without')
    decoding, encoding = asyncio.Semaphore(CORES), asyncio.Semaphore(CORES)  # an image may take 200 MB
    requests: set[Request] = set()

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batches.run())
        yield
        task.cancel()

    app = FastAPI(title='mmseg_bisenet', lifespan=running)

    def prepare(content: bytes) -> tuple[np.ndarray, tuple[int, ...]]:
        """The image as the network takes it, and its own width and height."""
        image = decode_image(content, 'the upload')
        return cv2.resize(image, segment.shape[::-1], interpolation=cv2.INTER_AREA), image.shape[1::-1]

    def finish(labels: np.ndarray, size: tuple[int, ...], encode: Encode) -> Response:
        return encode(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST))

    def png(labels: np.ndarray) -> Response:
        return Response(cv2.imencode('.png', labels)[1].tobytes(), media_type='image/png')

    def share(labels: np.ndarray) -> Response:
        counts = np.bincount(labels.ravel(), minlength=segment.num_classes)
        return JSONResponse({name: count / labels.size for name, count in zip(segment.classes, counts, strict=True)})

    async def answer(request: Request, encode: Encode) -> Response:
        if len(requests) >= WAITING:
            await read(request, keep=False)
            raise HTTPException(503, f'{WAITING} requests are waiting already; try again later')
        requests.add(request)
        try:
            content = await read(request)
            async with decoding:
                pixels, size = await asyncio.to_thread(prepare, content)
            labels = await batches.labels(pixels)
            async with encoding:
                return await asyncio.to_thread(finish, labels, size, encode)
        finally:
            requests.discard(request)

    @app.post('/labels')
    async def labels(request: Request) -> Response:
        """PNG of class indices, of the image's size."""
        return await answer(request, png)

    @app.post('/shares')
    async def shares(request: Request) -> Response:
        """The share of the pixels of each class."""
        return await answer(request, share)

    @app.exception_handler(InputError)
    async def refuse(request: Request, error: InputError) -> Response:
        return JSONResponse(dict(detail=line(error)), 422)

    return app


async def read(request: Request, keep: bool = True) -> bytes:
    """The body. What is not kept is read too, because a client that still sends may not see the answer."""

    async def parts() -> bytes:
        content, size = bytearray(), 0
        async for part in request.stream():
            size += len(part)
            if size > 10 * MEGABYTES * 1e6:
                break
            if keep and size <= MEGABYTES * 1e6:
                content += part
        if size > MEGABYTES * 1e6:
            raise HTTPException(413, f'the upload is larger than {MEGABYTES} MB; make the image smaller')
        return bytes(content)

    try:
        return await asyncio.wait_for(parts(), SECONDS)
    except asyncio.TimeoutError as error:
        raise HTTPException(408, f'the upload took longer than {SECONDS} s; make the image smaller') from error
    except ClientDisconnect as error:
        raise HTTPException(400, 'the upload ended early; send it again') from error


def listen(host: str, port: int) -> socket.socket:
    """Raises:
    InputError: the port is in use, or the address is not of this machine.
    """
    try:
        return socket.create_server((host, port), backlog=2 * WAITING)
    except (OSError, OverflowError) as error:  # the second: no such number
        reason = str(getattr(error, 'strerror', error)).partition(' (')[0]
        raise InputError(f'{host}:{port} cannot be used ({reason}); give another --port or --host') from error


def return_memory() -> None:
    """Let glibc give large blocks back once they are free: by default each thread keeps the largest it has had."""
    with suppress(AttributeError, OSError, TypeError):  # other systems
        ctypes.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD, bytes


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('file', help='written by mmseg-bisenet export, without --dynamic')
    parser.add_argument('--host', default='127.0.0.1', help='default: this machine only')
    parser.add_argument('--port', type=int, default=8000)
    args = parser.parse_args(argv)
    try:
        if not is_exported(args.file):
            raise InputError(f'{args.file} is no exported file; write one with mmseg-bisenet export and give its name')
        place = listen(args.host, args.port)
        app = build(args.file)
    except InputError as error:
        print(f'server: error: {line(error)}', file=sys.stderr)
        return 2
    return_memory()
    print(f'http://{args.host}:{place.getsockname()[1]}', flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=GRACE)).run([place])
    return 0


if __name__ == '__main__':
    sys.exit(main())
