"""Which methods are compared, and the row of figures that each gives."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from mmseg_bisenet.benchmark import latency, methods, plain
from mmseg_bisenet.benchmark.machine import LIBRARIES
from mmseg_bisenet.benchmark.memory import held_bytes
from mmseg_bisenet.benchmark.methods import Job
from mmseg_bisenet.deploy import backends
from mmseg_bisenet.deploy.packages import installation
from mmseg_bisenet.deploy.precision import NAMES
from mmseg_bisenet.errors import InputError

STOCK = ('stock', 'fp32')
OUR_SEGMENTOR = ('eager', 'fp32')  # replaces it if MMSegmentation has no such network
MOST_STAGES = 10  # images that the stages are timed on
STAGES = ('preprocess_ms', 'network_ms', 'postprocess_ms')

Pair = tuple[str, str]  # runtime and precision


# -- which -------------------------------------------------------------------------------------------------------------


def check(asked: Sequence[str], precisions: Sequence[str], vs: str) -> None:
    """Check that what was asked for is known and installed.

    Raises:
        InputError: it is not; the error names the option.
    """
    for option, given, known in (
        ('--runtime', asked, (*backends.RUNTIMES, *plain.PRECISIONS)),
        ('--precision', precisions, NAMES),
        ('--vs', [vs], ('stock', 'none', *asked, *plain.PRECISIONS)),
    ):
        for name in given:
            if name not in known:
                raise InputError(f'{option} {name} is not known; choose from {", ".join(dict.fromkeys(known))}')
    for name in dict.fromkeys([*asked, *({vs} & plain.NEEDS.keys())]):
        if missing := _missing(name, 'int8' in precisions):
            raise InputError(f'runtime {name} needs {", ".join(missing)}, not installed; run: {installation(missing)}')


def choose(
    asked: Sequence[str], precisions: Sequence[str], vs: str, device: str, first: Pair = STOCK
) -> tuple[list[Pair], list[str]]:
    """Pairs of runtime and precision to compare: ``first``, the plain export, and those asked for.

    The second list has a line for each pair that is left out. If ``vs`` is ``'none'``, only what was asked for is
    compared.

    Raises:
        InputError: nothing of what was asked for can run.
    """
    baselines = [] if vs == 'none' else [name for name in plain.PRECISIONS if name not in asked]
    pairs, left_out = [] if vs == 'none' else [first], []
    for name in (*baselines, *dict.fromkeys(asked)):
        for precision in dict.fromkeys(precisions):
            if reason := _why_not(name, precision, device):
                if name in asked or precision in plain.PRECISIONS[name]:
                    left_out.append(f'{name} {precision} left out: {reason}')
            elif (name, precision) not in pairs:
                pairs.append((name, precision))
    if not any(name in asked for name, _ in pairs):
        raise InputError(left_out[-1])
    return pairs, left_out


def _why_not(runtime: str, precision: str, device: str) -> str:
    """Why the pair cannot run, or ''."""
    if runtime in plain.PRECISIONS:
        if precision not in plain.PRECISIONS[runtime]:
            return f'it is measured in {" or ".join(plain.PRECISIONS[runtime])}'
        if device != 'cpu':
            return 'it is measured on CPUs only'
        missing = _missing(runtime, precision == 'int8')
        return f'{", ".join(missing)} not installed; run: {installation(missing)}' if missing else ''
    try:
        backends.require(runtime, precision, torch.device(device))
    except InputError as error:
        return str(error)
    return ''


def _missing(runtime: str, quantized: bool) -> list[str]:
    if runtime in plain.NEEDS:
        names = (*plain.NEEDS[runtime], *(['nncf'] if quantized else []))
    else:
        names = backends.RUNTIMES[runtime].needs(quantized)
    return [name for name in names if importlib.util.find_spec(name) is None]


# -- figures -----------------------------------------------------------------------------------------------------------


def compare(job: Job, pairs: Sequence[Pair], vs: str, images: int, warmup: int) -> tuple[list[dict], list[str]]:
    """A row for each pair that can be prepared, and a line for each that cannot.

    A row has percentiles and mean in milliseconds, frames a second, their ratio to the row of ``vs`` at equal precision
    (or else to its first row), the percentage of labels equal to those of stock in fp32, the peak memory
    (:func:`~.memory.held_bytes`), and the milliseconds of the stages if they can be told apart. A figure that does not
    exist is ''.

    Raises:
        InputError: the network cannot take the image, or no pair can be prepared.
    """

    def clock() -> float:
        return latency.now(job.device)

    expected = _expected(job)
    compared, left_out = [], []
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        print('preparing', *pair, file=sys.stderr)
        try:
            method = methods.prepare(job, *pair)
            latency.lap(method, clock)
        # Some failures show only now: a file that is not verified, a compiler that fails, a full memory or disk.
        except (InputError, RuntimeError, MemoryError, OSError) as error:
            left_out.append(f'{pair[0]} {pair[1]} left out: {reason(error)}')
            continue
        compared.append(method)
        rows.append(dict(runtime=pair[0], precision=pair[1], peak_mb=''))
    if not compared:
        raise InputError(left_out[-1])
    print('timing', file=sys.stderr)
    times = latency.interleave(compared, images, warmup, clock, pause=latency.PAUSE if job.device == 'cpu' else 0)
    for method, row, elapsed in zip(compared, rows, times, strict=True):
        row.update(latency.statistics(elapsed, mean=job.protocol != 'ours'))
        row['same_labels'] = latency.same_labels(latency.lap(method, clock)[1], expected)
        laps = [method.stages() for _ in range(min(images, MOST_STAGES))] if method.stages else []
        medians: list[Any] = [float(np.median(stage)) for stage in zip(*laps, strict=True)] or [''] * len(STAGES)
        row.update(zip(STAGES, medians, strict=True))
    del compared, method
    if job.device != 'cpu':
        torch.cuda.empty_cache()  # for the processes that measure memory
    for row in rows:
        print('memory of', row['runtime'], row['precision'], file=sys.stderr)
        prepare = partial(methods.prepare_work, job, row['runtime'], row['precision'])
        try:
            row['peak_mb'] = held_bytes(prepare, modules=LIBRARIES, device=job.device) / 1e6
        except MemoryError:
            left_out.append(f'peak MB of {row["runtime"]} {row["precision"]} left out: its process ended before that')
        base = _base(rows, vs, row['precision'])
        row['ratio'] = row['fps'] / base['fps'] if base else ''
    return rows, left_out


def _expected(job: Job) -> np.ndarray:
    """The labels of stock in fp32; this also checks that the network takes such an image."""
    height, width = job.image.shape[:2]
    if job.protocol == 'stock':  # which pads a small image, and shrinks the labels of the whole to its size
        job = replace(job, protocol='ours')
    try:
        labels = latency.lap(methods.prepare(job, *STOCK), lambda: 0)[1]
    except RuntimeError as error:  # PyTorch raises it for every cause
        raise InputError(f'--shape {height} {width}: the network cannot take it ({reason(error)})') from error
    return labels.cpu().numpy() if isinstance(labels, torch.Tensor) else labels


def reason(error: Exception) -> str:
    """The first line of its message; for an error that Dynamo wraps, of the inner error."""
    error = getattr(error, 'inner_exception', error)
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _base(rows: Sequence[dict], vs: str, precision: str) -> dict | None:
    mine = [row for row in rows if row['runtime'] == vs]
    return next((row for row in mine if row['precision'] == precision), mine[0] if mine else None)
