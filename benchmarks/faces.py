"""Measure one face at batch 1 against the network as face parsing repositories run it, in turns.

The reference is BiSeNet of zllrunning/face-parsing.PyTorch as that code runs it in evaluation: eager PyTorch in fp32,
all three heads, logits upsampled to the size of the image, argmax. Ours are the runtimes of this package, with the same
weights after ``mmseg-bisenet convert``. Each is timed from the pixels (H, W, 3) uint8 to the labels (H, W).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import command
from mmseg_bisenet.benchmark import latency, machine
from mmseg_bisenet.benchmark.latency import Method
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.checkpoints import convert, read
from mmseg_bisenet.deploy import load
from mmseg_bisenet.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, for values from 0 to 1
CLASSES = 19
RUNTIMES = ('torch:fp32', 'torch:bf16', 'compile:fp32', 'compile:bf16', 'openvino:fp32', 'onnxruntime:fp32')
# Gives an entry of a state dict by its name and shape.
Tensors = Callable[[str, tuple[int, ...]], Tensor]


# -- reference ---------------------------------------------------------------------------------------------------------


def reference(
    tensors: Tensors,
    x: Tensor,
    spatial_path: bool = False,
    blocks: Sequence[int] = (2, 2, 2, 2),
    classes: int = CLASSES,
) -> list[Tensor]:
    """Logits (N, classes, H, W) of the main head and of the auxiliary heads at 1/8 and 1/16.

    Args:
        tensors: gives the weights, with the names of that code.
        x: (N, 3, H, W), normalised.
        spatial_path: as in CoinCheung's early code, which this network comes from.
        blocks: of the four stages of the ResNet.
        classes: number of classes.
    """

    def conv(x: Tensor, name: str, width: int, kernel: int, stride: int = 1) -> Tensor:
        return F.conv2d(x, tensors(f'{name}.weight', (width, x.shape[1], kernel, kernel)), None, stride, kernel // 2)

    def norm(x: Tensor, name: str) -> Tensor:
        tensors(f'{name}.num_batches_tracked', ())
        mean, var, weight, bias = (
            tensors(f'{name}.{part}', (x.shape[1],)) for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, mean, var, weight, bias)

    def cell(x: Tensor, name: str, width: int, kernel: int, stride: int = 1) -> Tensor:
        return norm(conv(x, f'{name}.conv', width, kernel, stride), f'{name}.bn').relu()

    def pool(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, 1)

    def refined(x: Tensor, name: str) -> Tensor:
        x = cell(x, f'{name}.conv', 128, 3)
        return x * norm(conv(pool(x), f'{name}.conv_atten', 128, 1), f'{name}.bn_atten').sigmoid()

    def head(x: Tensor, name: str, width: int) -> Tensor:
        out = conv(cell(x, f'{name}.conv', width, 3), f'{name}.conv_out', classes, 1)
        return F.interpolate(out, size, mode='bilinear', align_corners=True)

    size = x.shape[2:]
    spatial = x
    stem = norm(conv(x, 'cp.resnet.conv1', 64, 7, 2), 'cp.resnet.bn1').relu()
    x = F.max_pool2d(stem, 3, 2, 1)
    stages = []
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
        for block in range(count):
            name, stride = f'cp.resnet.layer{stage}.{block}', 2 if stage > 1 and block == 0 else 1
            out = norm(conv(x, f'{name}.conv1', width, 3, stride), f'{name}.bn1').relu()
            out = norm(conv(out, f'{name}.conv2', width, 3), f'{name}.bn2')
            if stride == 2:
                x = norm(conv(x, f'{name}.downsample.0', width, 1, 2), f'{name}.downsample.1')
            x = (x + out).relu()
        stages.append(x)
    _, x8, x16, x32 = stages

    context16 = refined(x32, 'cp.arm32') + cell(pool(x32), 'cp.conv_avg', 128, 1)
    context16 = cell(F.interpolate(context16, x16.shape[2:]), 'cp.conv_head32', 128, 3)
    context8 = refined(x16, 'cp.arm16') + context16
    context8 = cell(F.interpolate(context8, x8.shape[2:]), 'cp.conv_head16', 128, 3)

    if spatial_path:
        for name, width, kernel, stride in (('1', 64, 7, 2), ('2', 64, 3, 2), ('3', 64, 3, 2), ('_out', 128, 1, 1)):
            spatial = cell(spatial, f'sp.conv{name}', width, kernel, stride)
    else:
        spatial = x8
    fused = cell(torch.cat([spatial, context8], 1), 'ffm.convblk', 256, 1)
    gate = conv(conv(pool(fused), 'ffm.conv1', 64, 1).relu(), 'ffm.conv2', 256, 1).sigmoid()
    return [
        head(fused * gate + fused, 'conv_out', 256),
        head(context8, 'conv_out16', 64),
        head(context16, 'conv_out32', 64),
    ]


@torch.no_grad()
def reference_labels(weights: dict[str, Tensor], pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) uint8, BGR -> labels (H, W), as the code's ``test.py`` makes them."""
    rgb = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).contiguous().float().div(255)
    x = rgb.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])[None]
    return reference(lambda name, shape: weights[name], x)[0][0].numpy().argmax(0)


def random_weights() -> dict[str, Tensor]:
    """A state dict of that code with random weights, seed 0."""
    weights: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith('num_batches_tracked'):
            weights[name] = torch.tensor(0)
        elif name not in weights:
            noise = torch.randn(shape, generator=generator)
            if len(shape) == 4:
                weights[name] = noise / noise[0].numel() ** 0.5
            else:
                weights[name] = 0.1 * noise + float(not name.endswith(('bias', 'mean')))
                if name.endswith('running_var'):
                    weights[name] = (0.1 * noise).exp()
        return weights[name]

    reference(draw, torch.zeros(1, 3, 64, 64))
    return weights


# -- measurement -------------------------------------------------------------------------------------------------------


def measure(
    checkpoint: str | None, shape: tuple[int, int], runtimes: Sequence[str], images: int, warmup: int
) -> list[dict[str, object]]:
    """Run the reference and each runtime in turns on one random image.

    Returns:
        A row for each: percentiles in milliseconds, images a second, their ratio to the reference's, and the percentage
        of labels equal to the reference's.

    Raises:
        InputError: the checkpoint is not of that code, or a runtime is not known or not installed.
    """
    pixels = np.random.RandomState(0).randint(0, 256, (*shape, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if checkpoint is None:
            checkpoint = str(Path(folder, 'theirs.pth'))
            torch.save(random_weights(), checkpoint)
        done = convert(checkpoint, Path(folder, 'ours.pth'), source='faceparsing')
        weights = read(checkpoint).state_dict
        methods = [Method('reference', 'fp32', lambda given: reference_labels(weights, given), lambda: pixels)]
        for name in runtimes:
            runtime, _, precision = name.partition(':')
            segment = load(done.config, Path(folder, 'ours.pth'), runtime, precision or 'fp32', shape)
            methods.append(Method(runtime, precision or 'fp32', segment, lambda: pixels))
    labels = [method.work(method.setup()) for method in methods]
    times = latency.interleave(methods, images, warmup, lambda: latency.now('cpu'), latency.PAUSE)
    rows = [
        dict(method=method.runtime, precision=method.precision)
        | latency.statistics(laps)
        | dict(same_labels=latency.same_labels(found, labels[0]))
        for method, laps, found in zip(methods, times, labels, strict=True)
    ]
    return [row | dict(to_reference=rows[0]['p50_ms'] / row['p50_ms']) for row in rows]


# -- command -----------------------------------------------------------------------------------------------------------

FIGURES = dict(p50_ms='.1f', p90_ms='.1f', fps='.1f', to_reference='.2f', same_labels='.3f')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--checkpoint', metavar='FILE', help='79999_iter.pth or a file like it (default: random)')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(512, 512), metavar=('H', 'W'), help='of the image (default: 512 512)'
    )
    parser.add_argument('--runtimes', nargs='+', default=RUNTIMES, metavar='RUNTIME:PRECISION', help='what to measure')
    parser.add_argument('--images', type=int, default=50, help='timed runs of each (default: %(default)s)')
    parser.add_argument('--warmup', type=int, default=5, help='runs before those (default: %(default)s)')


def run(args: argparse.Namespace) -> list[dict]:
    if min(args.shape) < 64 or args.images < 1 or args.warmup < 0:
        raise InputError('--shape must be 64 64 or more, --images 1 or more, and --warmup 0 or more')
    rows = measure(args.checkpoint, tuple(args.shape), args.runtimes, args.images, args.warmup)
    setting = machine.describe('cpu')
    print(machine.line(setting))
    cells = [
        [row['method'], row['precision'], *(f'{row[key]:{form}}' for key, form in FIGURES.items())] for row in rows
    ]
    header = ['method', 'precision', 'ms', '90th percentile', 'fps', 'to reference', 'same labels, %']
    print(markdown(header, 'llrrrrr', cells))
    weights = Path(args.checkpoint).name if args.checkpoint else 'random'
    size = dict(weights=weights, height=args.shape[0], width=args.shape[1], images=args.images, warmup=args.warmup)
    return [size | setting | row for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('faces', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
