"""Time and peak memory of the losses of all heads against MMSegmentation's, forward and backward, on made-up logits."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_bisenet.benchmark.latency import now
from mmseg_bisenet.benchmark.memory import peak_bytes

STRIDE = 8  # of the logits
# A head whose network does not matter: only its loss is run.
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
    """What the losses are computed for: ``heads`` logit maps (batch, classes, height / 8, width / 8)."""

    batch: int = 4
    height: int = 1024
    width: int = 1024
    classes: int = 19
    heads: int = 5
    device: str = 'cpu'


def measure(setting: Setting, repeats: int) -> list[dict[str, object]]:
    """A row a kind of loss: median milliseconds of interleaved runs, and peak memory over logits and labels.

    The ratios are to stock's loss of the same meaning.
    """
    works = {kind: prepare(kind, setting) for kind in KINDS}
    times = {kind: [] for kind in KINDS}
    for _ in range(repeats + 1):
        for kind, work in works.items():
            start = now(setting.device)
            work()
            times[kind].append(1000 * (now(setting.device) - start))
    del works
    rows = []
    for kind in KINDS:
        peak = peak_bytes(prepare, kind, setting, device=setting.device)
        rows.append(dict(loss=kind, ms=median(times[kind][1:]), peak_mb=peak / 1e6))
    for row, stock in zip(rows, (rows[0], rows[0], rows[2], rows[2]), strict=True):
        row.update(time_ratio=row['ms'] / stock['ms'], memory_ratio=row['peak_mb'] / max(stock['peak_mb'], 1e-6))
    return rows


def prepare(kind: str, setting: Setting) -> Callable[[], Tensor]:
    """Logits, labels and heads; what is returned computes the loss of all heads and its gradients."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    heads = nn.ModuleList(
        MODELS.build(dict(KINDS[kind], num_classes=setting.classes)) for _ in range(setting.heads)
    ).to(setting.device)
    shape = (setting.batch, setting.classes, setting.height // STRIDE, setting.width // STRIDE)
    logits = [torch.randn(shape, device=setting.device, requires_grad=True) for _ in heads]
    labels = torch.randint(0, setting.classes, (setting.batch, 1, setting.height, setting.width))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label.to(setting.device))) for label in labels]

    def work() -> Tensor:
        losses = [head.loss_by_feat(x, samples) for head, x in zip(heads, logits, strict=True)]
        total = sum(value for loss in losses for name, value in loss.items() if name.startswith('loss_'))
        total.backward()
        for x in logits:
            x.grad = None
        return total.detach()

    return work
