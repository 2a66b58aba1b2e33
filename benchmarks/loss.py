"""Measure the losses of all heads against MMSegmentation's: time and peak memory, forward and backward.

The logits are synthetic.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from benchmarks import command
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.latency import now
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.errors import InputError

STRIDE = 8  # of the logits
# Only the loss of a head is run, so its network may be small.
HEAD = dict(in_channels=8, channels=8, num_convs=1, concat_input=False, norm_cfg=None)
OURS = dict(type='mmseg_bisenet.BiSeNetHead', **{key: HEAD[key] for key in ('in_channels', 'channels', 'norm_cfg')})
STOCK = dict(type='FCNHead', **HEAD)
SAMPLER = dict(type='OHEMPixelSampler', thresh=0.7, min_kept=10000)
KINDS = {
    'stock cross entropy': STOCK,
    'cross entropy': OURS,
    'stock OHEM': dict(STOCK, sampler=SAMPLER),
    'OHEM': dict(OURS, loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss')),
}


@dataclass(frozen=True)
class Setting:
    """The size of the problem: ``heads`` logit maps (batch, classes, height / 8, width / 8)."""

    batch: int = 4
    height: int = 1024
    width: int = 1024
    classes: int = 19
    heads: int = 5


def measure(setting: Setting, repeats: int, device: str = 'cpu') -> list[dict[str, object]]:
    """Run all losses in turns, ``repeats`` times each.

    Returns:
        A row for each kind of loss: median milliseconds, peak memory above logits and labels, and the ratios of both to
        stock's loss of the same kind.
    """
    works = {kind: prepare(kind, setting, device) for kind in KINDS}
    times = {kind: [] for kind in KINDS}
    for _ in range(repeats + 1):
        for kind, work in works.items():
            start = now(device)
            work()
            times[kind].append(1000 * (now(device) - start))
    del works
    rows = []
    for kind in KINDS:
        peak = peak_bytes(prepare, kind, setting, device, device=device)
        rows.append(dict(loss=kind, ms=median(times[kind][1:]), peak_mb=peak / 1e6))
    for row, stock in zip(rows, (rows[0], rows[0], rows[2], rows[2]), strict=True):
        row.update(time_ratio=row['ms'] / stock['ms'], memory_ratio=row['peak_mb'] / max(stock['peak_mb'], 1e-6))
    return rows


def prepare(kind: str, setting: Setting, device: str = 'cpu') -> Callable[[], Tensor]:
    """Make logits, labels and heads; the function that is returned computes the loss of all heads and its gradients."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    heads = nn.ModuleList(
        MODELS.build(dict(KINDS[kind], num_classes=setting.classes)) for _ in range(setting.heads)
    ).to(device)
    shape = (setting.batch, setting.classes, setting.height // STRIDE, setting.width // STRIDE)
    logits = [torch.randn(shape, device=device, requires_grad=True) for _ in heads]
    labels = torch.randint(0, setting.classes, (setting.batch, 1, setting.height, setting.width))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label.to(device))) for label in labels]

    def work() -> Tensor:
        losses = [head.loss_by_feat(x, samples) for head, x in zip(heads, logits, strict=True)]
        total = sum(value for loss in losses for name, value in loss.items() if name.startswith('loss_'))
        total.backward()
        for x in logits:
            x.grad = None
        return total.detach()

    return work


# -- command -----------------------------------------------------------------------------------------------------------

COLUMNS = dict(ms=0, time_ratio=2, peak_mb=0, memory_ratio=2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--batch', type=int, default=4, help='images (default: %(default)s)')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(1024, 1024),
        metavar=('H', 'W'),
        help='of the labels, default 1024',
    )
    parser.add_argument('--classes', type=int, default=19, help='default: %(default)s')
    parser.add_argument('--heads', type=int, default=5, help='default: %(default)s')
    parser.add_argument('--repeats', type=int, default=5, help='timed runs of each (default: %(default)s)')


def run(args: argparse.Namespace) -> list[dict]:
    if min(args.batch, *args.shape, args.classes, args.heads, args.repeats) < 1 or min(args.shape) < STRIDE:
        raise InputError(f'--shape must be {STRIDE} {STRIDE} or more, all other numbers 1 or more')
    size = Setting(args.batch, *args.shape, args.classes, args.heads)
    device = command.device()
    rows = measure(size, args.repeats, device)
    setting = dict(device=machine.name(device), threads=torch.get_num_threads(), torch=torch.__version__)
    print('{device}, {threads} threads, torch {torch}; '.format(**setting), end='')
    print('{heads} heads, {batch}x{classes}x{height}x{width}, forward and backward'.format(**asdict(size)))
    cells = [[row['loss'], *(f'{row[key]:.{digits}f}' for key, digits in COLUMNS.items())] for row in rows]
    print(markdown(['loss', 'ms', 'to stock', 'peak MB', 'to stock'], 'lrrrr', cells))
    return [setting | asdict(size) | row for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('loss', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
