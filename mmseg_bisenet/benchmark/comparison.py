"""Which ways are compared, and the row of figures that each gives."""

import importlib.util
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from mmseg_bisenet.benchmark import latency, plain, runtimes
from mmseg_bisenet.benchmark.machine import LIBRARIES
from mmseg_bisenet.benchmark.memory import held_bytes
from mmseg_bisenet.benchmark.runtimes import Job
from mmseg_bisenet.deploy import precision as deployed
from mmseg_bisenet.errors import InputError

PRECISIONS = ('fp32', 'fp16', 'bf16', 'int8')
STOCK = ('stock', 'fp32')
UNFUSED = ('eager', 'fp32')  # in its place where MMSegmentation has no such network
MOST_STAGES = 10  # images that they are timed on
STAGES = ('preprocess_ms', 'network_ms', 'postprocess_ms')
# Modules that the export of ours needs; all of the extra `export`.
NEEDS = dict(
    onnxruntime=('onnx', 'onnxscript', 'onnxruntime'),
    openvino=('onnx', 'onnxscript', 'openvino'),
    tensorrt=('onnx', 'onnxscript', 'tensorrt'),
)
INSTALL = 'pip install "mmseg_bisenet[export]"'

Pair = tuple[str, str]  # runtime and precision


# -- which -------------------------------------------------------------------------------------------------------------


def check(asked: Sequence[str], precisions: Sequence[str], vs: str) -> None:
    """Refuse what is not known or not installed.

    Raises:
        InputError: it names the option and what is wrong.
    """
    for option, given, known in (
        ('--runtime', asked, (*deployed.PRECISIONS, *plain.PRECISIONS)),
        ('--precision', precisions, PRECISIONS),
        ('--vs', [vs], ('stock', 'none', *asked, *plain.PRECISIONS)),
    ):
        for name in given:
            if name not in known:
                raise InputError(f'{option} {name}: not known here; choose of {", ".join(dict.fromkeys(known))}')
    for name in dict.fromkeys([*asked, *({vs} & plain.NEEDS.keys())]):
        if missing := _missing(name, 'int8' in precisions):
            also = ' tensorrt' if name == 'tensorrt' else ''
            raise InputError(f'runtime {name} needs {", ".join(missing)}, not installed; run: {INSTALL}{also}')


def choose(
    asked: Sequence[str], precisions: Sequence[str], vs: str, device: str, first: Pair = STOCK
) -> tuple[list[Pair], list[str]]:
    """Pairs of runtime and precision to compare, ``first`` and the plain route before those asked for.

    The second list has a line for each that is left out. With ``vs`` ``'none'`` there is only what was asked for.

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
        return f'{", ".join(missing)} not installed; run: {INSTALL}' if missing else ''
    try:
        deployed.require(runtime, precision, torch.device(device))
    except InputError as error:
        return str(error)
    return ''


def _missing(runtime: str, quantized: bool) -> list[str]:
    names = (NEEDS | plain.NEEDS).get(runtime, ())
    names = (*names, 'nncf') if names and quantized else names
    return [name for name in names if importlib.util.find_spec(name) is None]


# -- figures -----------------------------------------------------------------------------------------------------------


def compare(job: Job, pairs: Sequence[Pair], vs: str, images: int, warmup: int) -> tuple[list[dict], list[str]]:
    """A row for each pair that can be prepared, and a line for each other.

    A row has percentiles and mean in milliseconds, frames a second, their ratio to the row of ``vs`` at equal precision
    (or else to its first row), the percentage of labels that are those of stock in fp32, the memory held at the peak
    (:func:`~.memory.held_bytes`), and the milliseconds of the stages where they can be told apart; '' is what there is
    no figure for.

    Raises:
        InputError: the network cannot take the image, or no pair can be prepared.
    """

    def clock() -> float:
        return latency.now(job.device)

    expected = _expected(job)
    ways, rows, left_out = [], [], []
    for pair in pairs:
        print('preparing', *pair, file=sys.stderr)
        try:
            way = runtimes.prepare(job, *pair)
            latency.lap(way, clock)
        # What only shows as it is done: a file that fails its check, a compiler that fails, memory that is full.
        except (InputError, RuntimeError, MemoryError) as error:
            left_out.append(f'{pair[0]} {pair[1]} left out: {_reason(error)}')
            continue
        ways.append(way)
        rows.append(dict(runtime=pair[0], precision=pair[1], peak_mb=''))
    if not ways:
        raise InputError(left_out[-1])
    print('timing', file=sys.stderr)
    times = latency.interleave(ways, images, warmup, clock, pause=latency.PAUSE if job.device == 'cpu' else 0)
    for way, row, elapsed in zip(ways, rows, times, strict=True):
        row.update(latency.statistics(elapsed, mean=job.protocol != 'ours'))
        row['same_labels'] = latency.same_labels(latency.lap(way, clock)[1], expected)
        laps = [way.stages() for _ in range(min(images, MOST_STAGES))] if way.stages else []
        medians = [float(np.median(stage)) for stage in zip(*laps, strict=True)] or [''] * len(STAGES)
        row.update(zip(STAGES, medians, strict=True))
    del ways, way
    if job.device != 'cpu':
        torch.cuda.empty_cache()  # for the processes that count
    for row in rows:
        print('memory of', row['runtime'], row['precision'], file=sys.stderr)
        prepare = partial(runtimes.prepare_work, job, row['runtime'], row['precision'])
        try:
            row['peak_mb'] = held_bytes(prepare, modules=LIBRARIES, device=job.device) / 1e6
        except MemoryError:
            left_out.append(f'peak MB of {row["runtime"]} {row["precision"]} left out: its process ended before that')
        base = _base(rows, vs, row['precision'])
        row['ratio'] = row['fps'] / base['fps'] if base else ''
    return rows, left_out


def _expected(job: Job) -> np.ndarray:
    """The labels of stock in fp32, which also shows that the network takes such an image."""
    height, width = job.image.shape[:2]
    try:
        labels = latency.lap(runtimes.prepare(job, *STOCK), lambda: 0)[1]
    except RuntimeError as error:  # PyTorch has one kind for all
        raise InputError(f'--shape {height} {width}: the network cannot take it ({_reason(error)})') from error
    return labels.cpu().numpy() if isinstance(labels, torch.Tensor) else labels


def _reason(error: Exception) -> str:
    """The first line of what it says; of a compiler's error, what the compiler says."""
    error = getattr(error, 'inner_exception', error)
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _base(rows: Sequence[dict], vs: str, precision: str) -> dict | None:
    mine = [row for row in rows if row['runtime'] == vs]
    return next((row for row in mine if row['precision'] == precision), mine[0] if mine else None)
