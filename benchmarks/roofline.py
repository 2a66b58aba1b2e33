"""How fast a network could be at best on this machine: the two floors of the roofline model (Williams et al., 2009).

One floor is its multiply-adds over the rate of large matrix products, the other the bytes of its maps, each written
once and read once, over the rate of a copy. Both rates are measured with PyTorch's own operators: that the machine has
no more to give is not proved. On a GPU the products are larger, and many are started before one waits, so that the
launches don't count. Convolutions by fewer multiplications (Winograd), and runtimes that keep maps in caches,
may pass below.
"""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks import complexity
from mmseg_bisenet.benchmark import latency
from mmseg_bisenet.models import BiSeNetSegmentor

BYTES = {'fp32': 4, 'tf32': 4, 'bf16': 2, 'fp16': 2, 'int8': 1}
DTYPES = {
    'fp32': torch.float32,
    'tf32': torch.float32,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
    'int8': torch.int8,
}
MANY = 20  # on a GPU, between two looks at the clock


def measure(segmentor: BiSeNetSegmentor, height: int, width: int, device: str, repeats: int = 10) -> list[dict]:
    """A row for each precision of the device: its rate in G multiply-adds a second, and both floors in ms an image.

    Args:
        segmentor: on the CPU; only its shapes matter.
        height, width: of the image, in pixels.
        device: ``'cpu'`` or ``'cuda'``, whose rates are measured; fp32 of a GPU is without TF32, which has its own row.
        repeats: of each product, of which the fastest counts.
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
                compute_floor_ms=1000 * multiply_adds / rate,
                copy_gb_s=bandwidth / 1e9,
                memory_floor_ms=1000 * 2 * BYTES[precision] * activations / bandwidth,
            )
        )
    return rows


def product_rate(precision: str, device: str, repeats: int) -> float:
    """Multiply-adds a second of products of 2048x2048 matrices (8192x8192 on a GPU), or of the same as a 1x1
    convolution: the faster.
    """
    size, dtype = 2048 if device == 'cpu' else 8192, DTYPES[precision]
    if dtype == torch.int8:
        matrix = torch.randint(-128, 128, (size, size), dtype=dtype, device=device)
        return size**3 / _fastest(lambda: torch._int_mm(matrix, matrix.T), device, repeats)  # as all GPUs have it
    matrix = torch.randn(size, size, device=device).to(dtype)
    maps = matrix.T.reshape(1, size, 64, size // 64).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(size, size, 1, bias=False).to(device, dtype, memory_format=torch.channels_last)
    works = (lambda: matrix @ matrix), (lambda: conv(maps))  # on an AMD CPU the second is twice as fast in fp32
    with latency.tf32(precision == 'tf32'), latency.cudnn_benchmark(device):
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
