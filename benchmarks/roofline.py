"""Compute the lower bounds of the time of an image on this machine, by the roofline model (Williams et al., 2009).

The compute bound is the network's multiply-adds divided by the rate of large matrix products. The memory bound is the
bytes of its feature maps, each written once and read once, divided by the rate of a copy. PyTorch's own operators
measure both rates; the machine may be capable of more. On a GPU the products are larger, and many are started before
the clock is read, so that launches don't count. Convolutions with fewer multiplications (Winograd) and runtimes that
keep maps in caches may be faster than these bounds.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks import command, complexity
from mmseg_bisenet import model_index
from mmseg_bisenet.benchmark import latency, machine
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.deploy.precision import tf32
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.zoo import get_model

BYTES = {'fp32': 4, 'tf32': 4, 'bf16': 2, 'fp16': 2, 'int8': 1}
DTYPES = {
    'fp32': torch.float32,
    'tf32': torch.float32,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
    'int8': torch.int8,
}
MANY = 20  # runs between two readings of the clock, on a GPU


def measure(segmentor: BiSeNetSegmentor, height: int, width: int, device: str, repeats: int = 10) -> list[dict]:
    """Both rates of a device, and the lower bounds that follow from them for a network.

    Args:
        segmentor: on the CPU; only its shapes matter.
        height, width: of the image, in pixels.
        device: ``'cpu'`` or ``'cuda'``; fp32 of a GPU is without TF32, which has a row of its own.
        repeats: runs of each product and of the copy; the fastest counts.

    Returns:
        A row for each precision: the rate in G multiply-adds a second, and both bounds in ms an image.
    """
    ((multiply_adds, activations),) = complexity.count(segmentor, [(height, width)])
    bandwidth = copy_rate(device, repeats)
    rows = []
    for precision in ('fp32', 'bf16', 'int8') if device == 'cpu' else BYTES:
        rate = product_rate(precision, device, repeats)
        rows.append(
            dict(
                precision=precision,
                multiply_adds_g=multiply_adds / 1e9,
                rate_g=rate / 1e9,
                compute_bound_ms=1000 * multiply_adds / rate,
                copy_gb_s=bandwidth / 1e9,
                memory_bound_ms=1000 * 2 * BYTES[precision] * activations / bandwidth,
            )
        )
    return rows


def product_rate(precision: str, device: str, repeats: int) -> float:
    """Multiply-adds a second of a product of 2048x2048 matrices (8192x8192 on a GPU).

    The product runs as a matrix product and as a 1x1 convolution; the faster one counts.
    """
    size, dtype = 2048 if device == 'cpu' else 8192, DTYPES[precision]
    if dtype == torch.int8:
        matrix = torch.randint(-128, 128, (size, size), dtype=dtype, device=device)
        # Every GPU supports the layout of a transposed second matrix.
        return size**3 / _fastest(lambda: torch._int_mm(matrix, matrix.T), device, repeats)
    matrix = torch.randn(size, size, device=device).to(dtype)
    maps = matrix.T.reshape(1, size, 64, size // 64).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(size, size, 1, bias=False).to(device, dtype, memory_format=torch.channels_last)
    works = (lambda: matrix @ matrix), (lambda: conv(maps))  # on an AMD CPU the second is twice as fast in fp32
    with tf32(precision == 'tf32'), latency.cudnn_benchmark(device):
        return size**3 / min(_fastest(work, device, repeats) for work in works)


def copy_rate(device: str, repeats: int) -> float:
    """Bytes a second, read and written, of a copy of 256 MB."""
    source = torch.zeros(64 * 2**20, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device, repeats)


@torch.inference_mode()
def _fastest(work: Callable[[], object], device: str, repeats: int) -> float:
    seconds, many = [], 1 if device == 'cpu' else MANY
    for _ in range(2 + repeats):
        start = latency.now(device)
        for _ in range(many):
            work()
        seconds.append((latency.now(device) - start) / many)
    return min(seconds[2:])


# -- command -----------------------------------------------------------------------------------------------------------

HEADER = ['precision', 'G multiply-adds/s', 'compute bound, ms', 'copy, GB/s', 'memory bound, ms']
FIGURES = dict(rate_g='.0f', compute_bound_ms='.1f', copy_gb_s='.1f', memory_bound_ms='.1f')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='path of a config, or the bare name of one of this package')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'), help='of the image (default: 1024 2048)'
    )


def run(args: argparse.Namespace) -> list[dict]:
    if min(args.shape) < 1:
        raise InputError('--shape must be 1 or more')
    height, width = args.shape
    segmentor = get_model(str(model_index.find_config(args.config)))
    device = command.device()
    setting = machine.describe(device)
    setting.pop('tf32', None)  # the precision of each row says it
    rows = measure(segmentor, height, width, device)
    print(machine.line(setting))
    print(f'{args.config}, {height}x{width}: {rows[0]["multiply_adds_g"]:.1f} G multiply-adds')
    cells = [[row['precision'], *(f'{row[key]:{form}}' for key, form in FIGURES.items())] for row in rows]
    print(markdown(HEADER, 'lrrrr', cells))
    return [dict(config=args.config, height=height, width=width) | setting | row for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('roofline', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
