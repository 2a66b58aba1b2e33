"""Measure a training step against MMSegmentation's network and loss: images a second and peak memory.

Batches are synthetic and lie on the device with their labels, so the data loader and the copy to the GPU are not
measured (``scaling.py`` measures the loader). A step is what MMEngine's runner does with a batch: data preprocessor,
forward pass with losses, backward pass and optimizer; all methods use the optimizer of the config. On a GPU, cuDNN
chooses its convolutions by trying them, as ``cudnn_benchmark`` in our ``default_runtime.py`` and in stock's asks for.
On a CPU each method has a process of its own: ours keep the memory that they free, as our training loop does. So does
``stock, our loop``, to show what that alone is worth.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from statistics import median

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from benchmarks import command
from benchmarks.steps import synthetic_batch, without_precision
from benchmarks.turns import in_child, in_process
from mmseg_bisenet.benchmark import latency, machine
from mmseg_bisenet.benchmark.comparison import reason
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.benchmark.stock import stock
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.cli import options
from mmseg_bisenet.deploy.precision import tf32
from mmseg_bisenet.engine.freed_memory import keep_freed_memory
from mmseg_bisenet.errors import InputError

WRAPPERS = {
    'fp32': dict(type='OptimWrapper'),
    'tf32': dict(type='OptimWrapper'),
    'amp-fp16': dict(type='AmpOptimWrapper', dtype='float16'),
    'amp-bf16': dict(type='mmseg_bisenet.BFloat16OptimWrapper'),
}
STOCK_LOSS = dict(type='CrossEntropyLoss', _scope_='mmseg')


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    Args:
        network: ``'stock'``, ``'stock, our loop'``, ``'ours'``, or ``'ours, stock loss'``, with full-size logits.
        precision: ``'fp32'``, ``'tf32'`` (convolutions and matrix products of a GPU), ``'amp-fp16'`` or ``'amp-bf16'``.
        channels_last: weights and feature maps have the channels-last memory format.
        compiled: the backbone is compiled, as ``CompileHook`` does it.
    """

    network: str
    precision: str
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        flags = [name for name in ('channels_last', 'compiled') if getattr(self, name)]
        return ' '.join([self.network, self.precision, *flags])


def methods(device: str, compiled: bool) -> list[Method]:
    """The methods to compare on a device; at each precision, stock comes first."""
    found = []
    for precision in ('fp32', 'tf32', 'amp-fp16', 'amp-bf16') if device == 'cuda' else ('fp32', 'amp-bf16'):
        found += [Method('stock', precision)] + [Method('stock, our loop', precision)] * (device == 'cpu')
        found += [Method('ours, stock loss', precision), Method('ours', precision)]
        found += [Method('ours', precision, channels_last=True)]
        found += [Method('ours', precision, channels_last=True, compiled=True)] if compiled else []
    return found


def measure(
    model: dict, optimizer: dict, compared: list[Method], batch: int, crop: tuple[int, int], steps: int, device: str
) -> list[dict]:
    """Train with the methods of a precision in turns.

    Args:
        model: of a config of ours.
        optimizer: the config's ``optim_wrapper``.
        compared: the methods, in this order; the ratios of a precision are to its first method.
        batch: images a step.
        crop: height and width of the images, in pixels.
        steps: timed steps of each method, after two that are not timed.
        device: ``'cpu'`` or ``'cuda'``.

    Returns:
        A row for each method that does not fail: median milliseconds a step, images a second, peak memory above weights
        and batch, and the ratios of speed and memory. A figure that does not exist is ''.

    Raises:
        InputError: MMSegmentation has no such network.
    """
    rows: dict[Method, dict] = {}
    with latency.cudnn_benchmark(device):
        times: dict[Method, list[float]] = {}
        for precision in dict.fromkeys(method.precision for method in compared):
            methods = [method for method in compared if method.precision == precision]
            times |= _times(model, optimizer, methods, batch, crop, steps, device)
        for method, clock in times.items():
            ms = median(clock[2:])
            row = asdict(method) | dict(batch=batch, height=crop[0], width=crop[1])
            row |= dict(cudnn_benchmark=torch.backends.cudnn.benchmark if device == 'cuda' else '')
            row |= dict(ms=ms, images_s=1000 * batch / ms, peak_mb='')
            with _left_out_if_it_fails(f'peak memory of {method}'):
                torch._dynamo.reset()
                peak = peak_bytes(prepare, method, model, optimizer, batch, crop, device, device=device)
                row['peak_mb'] = peak / 1e6
            rows[method] = row
    for method, row in rows.items():
        first = next(other for other in compared if other.precision == method.precision)
        base = rows.get(first, dict(images_s='', peak_mb=''))
        for ratio, figure in dict(speed_ratio='images_s', memory_ratio='peak_mb').items():
            row[ratio] = row[figure] / base[figure] if row[figure] and base[figure] else ''
    return list(rows.values())


def _times(
    model: dict, optimizer: dict, compared: list[Method], batch: int, crop: tuple[int, int], steps: int, device: str
) -> dict[Method, list[float]]:
    """Milliseconds of the steps of each method that does not fail."""
    # Otherwise Dynamo compiles for any size at the second batch size, and runs the ninth network uncompiled.
    torch._dynamo.reset()
    works: dict[Method, Callable[[], float]] = {}
    times: dict[Method, list[float]] = {method: [] for method in compared}
    with ExitStack() as processes:
        for method in compared:
            with _left_out_if_it_fails(str(method)):
                timed = in_child if device == 'cpu' else in_process
                args = (method, model, optimizer, batch, crop, device)
                works[method] = processes.enter_context(timed(device, prepare, *args))
        for _ in range(2 + steps):
            for method in list(works):
                with _left_out_if_it_fails(str(method)):
                    work = works.pop(method)
                    times[method].append(work())
                    works[method] = work
    return {method: times[method] for method in works}


@contextmanager
def _left_out_if_it_fails(what: str) -> Iterator[None]:
    """Go on with the other methods, for example if one needs more memory than there is, and say so on stderr."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        print(f'{what} left out: {reason(error)}', file=sys.stderr)


def prepare(
    method: Method, model: dict, optimizer: dict, batch: int, crop: tuple[int, int], device: str
) -> Callable[[], None]:
    """Build a segmentor with random weights; the function that is returned trains it by one step."""
    init_default_scope('mmseg')
    if method.network != 'stock' and device == 'cpu':
        keep_freed_memory()
    # By default the data preprocessor would pad to the crop of the config.
    model = model | dict(data_preprocessor=model['data_preprocessor'] | dict(size=crop))
    network = revert_sync_batchnorm(MODELS.build(_cfg(method, model))).to(device).train()
    if method.compiled:
        network.backbone.compile(dynamic=False)
    optim = build_optim_wrapper(network, without_precision(optimizer) | WRAPPERS[method.precision])
    data = synthetic_batch(batch, crop, network.num_classes)
    data = {key: [each.to(device) for each in given] for key, given in data.items()}

    def step() -> None:
        with tf32(method.precision == 'tf32'), optim.optim_context(network):
            losses = network(**network.data_preprocessor(data, training=True), mode='loss')
            loss, _ = network.parse_losses(losses)
        with tf32(method.precision == 'tf32'):
            optim.update_params(loss)

    return step


def _cfg(method: Method, model: dict) -> dict:
    if method.network in ('stock', 'stock, our loop'):
        return stock(model)
    cfg = model | dict(channels_last=method.channels_last)
    if method.network == 'ours, stock loss':
        cfg['decode_head'] = cfg['decode_head'] | dict(loss_decode=STOCK_LOSS)
        cfg['auxiliary_head'] = [head | dict(loss_decode=STOCK_LOSS) for head in cfg['auxiliary_head'] or ()]
    return cfg


# -- command -----------------------------------------------------------------------------------------------------------

HEADER = ['network', 'precision', 'channels_last', 'compiled', 'ms', 'images/s', 'to stock', 'peak MB', 'to stock']
FIGURES = dict(ms='.0f', images_s='.2f', speed_ratio='.2f', peak_mb='.0f', memory_ratio='.2f')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    parser.add_argument('--batch', type=int, nargs='+', default=[4, 16], help='images a step (default: 4 16)')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(1024, 1024), metavar=('H', 'W'), help='of the crops (default: 1024 1024)'
    )
    parser.add_argument('--steps', type=int, default=10, help='timed steps of each method (default: %(default)s)')
    parser.add_argument('--compile', action='store_true', help='also measure compiled backbones')


def run(args: argparse.Namespace) -> list[dict]:
    if min(*args.shape, args.steps) < 1:
        raise InputError('--shape and --steps must be 1 or more')
    if min(args.batch) < 2:
        raise InputError(f'--batch {min(args.batch)}: batch norm over 1x1 maps needs 2 images or more')
    cfg = options.load(args)
    device = command.device()
    compared = methods(device, args.compile)
    setting = machine.describe(device)
    setting.pop('tf32', None)  # the precision of each row says it
    print(machine.line(setting))
    rows = []
    for batch in args.batch:
        model, optimizer = cfg.model.to_dict(), cfg.optim_wrapper.to_dict()
        measured = measure(model, optimizer, compared, batch, tuple(args.shape), args.steps, device)
        print(f'\nbatch {batch} of {args.shape[0]}x{args.shape[1]}, {cfg.model.num_classes} classes')
        print(markdown(HEADER, 'llllrrrrr', map(_cells, measured)))
        rows += [dict(config=args.config) | setting | row for row in measured]
    return rows


def _cells(row: dict) -> list[str]:
    flags = ['yes' if row[key] else '' for key in ('channels_last', 'compiled')]
    return [
        row['network'],
        row['precision'],
        *flags,
        *(row[key] and f'{row[key]:{form}}' for key, form in FIGURES.items()),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('training', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
