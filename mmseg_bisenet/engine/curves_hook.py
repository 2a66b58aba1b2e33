"""The curves of a training in one picture: loss, mIoU and learning rate over the iterations.

The values come from MMEngine's message hub. Checkpoints contain the hub, so the picture of a resumed training shows the
first part as well. The hub has the loss of every iteration, but not the iteration of each evaluation, so this hook
records it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_bisenet.engine.only_warn import only_warn
from mmseg_bisenet.pixels import write_pixels
from mmseg_bisenet.registry import HOOKS

FILE = 'curves.png'
EVALUATIONS = 'evaluations'  # in the message hub: a list of [iteration, mIoU in percent]
BLUE, ORANGE, GREEN = '#3b6fb6', '#d9762b', '#3a8f5a'


@HOOKS.register_module()
class CurvesHook(Hook):
    """Write ``curves.png`` into the work dir after each evaluation; after training, also send it to the visualizer.

    The loss is that of the main process. If the picture cannot be drawn or written, the log has a warning.
    """

    def __init__(self) -> None:
        self.training = False

    def before_train(self, runner: Runner) -> None:
        self.training = True

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.training and metrics and 'mIoU' in metrics:
            points = runner.message_hub.get_info(EVALUATIONS, [])
            runner.message_hub.update_info(EVALUATIONS, [*points, [runner.iter, float(metrics['mIoU'])]])
            self._draw(runner)

    @master_only
    def after_train(self, runner: Runner) -> None:
        self.training = False
        picture = self._draw(runner)
        if picture is not None:
            with only_warn(runner, FILE):
                runner.visualizer.add_image(FILE, picture, runner.iter)

    def _draw(self, runner: Runner) -> np.ndarray | None:
        with only_warn(runner, FILE):
            scalars = {key: buffer.data[0] for key, buffer in runner.message_hub.log_scalars.items()}
            losses, rates = (scalars.get(f'train/{key}', np.empty(0)) for key in ('loss', 'lr'))
            picture = draw_curves(runner.iter, losses, rates, runner.message_hub.get_info(EVALUATIONS, []))
            write_pixels(Path(runner.work_dir, FILE), picture[..., ::-1])
            return picture


def draw_curves(iteration: int, losses: np.ndarray, rates: np.ndarray, points: list) -> np.ndarray:
    """Draw loss, mIoU and learning rate in panels, one above the other. A panel without values is left out.

    Args:
        iteration: number of iterations done.
        losses: (L,) total loss of the last L iterations.
        rates: (R,) learning rate of the last R iterations.
        points: evaluations as [iteration, mIoU in percent].

    Returns:
        (H, W, 3) RGB uint8.
    """
    every: list[tuple[int, Callable, Sequence | np.ndarray]]
    every = [(3, _loss, losses), (2, _miou, points), (1, _rate, rates)]
    panels = [panel for panel in every if len(panel[2])]
    heights = [height for height, *_ in panels]
    figure = Figure(figsize=(9, 0.6 + sum(heights)), dpi=120, layout='constrained')
    canvas = FigureCanvasAgg(figure)  # pyplot would keep global state
    axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (_, draw, values) in zip(axes, panels, strict=True):
        draw(ax, iteration, values)
        ax.grid(alpha=0.25)
        ax.spines[['top', 'right']].set_visible(False)
    axes[-1].set_xlim(0, iteration * 1.02)
    axes[-1].set_xlabel('iteration')
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1].xaxis.set_major_formatter('{x:,.0f}')
    figure.align_ylabels()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _loss(ax: Axes, iteration: int, losses: np.ndarray) -> None:
    finite = np.isfinite(losses)
    x, losses = _iterations(iteration, losses)[finite], losses[finite]
    ax.plot(x, losses, color=BLUE, linewidth=0.5, alpha=0.35, label='each iteration')
    ax.plot(x, smoothed(losses, max(1, len(losses) // 50)), color=BLUE, linewidth=1.8, label='smoothed')
    ax.set_yscale('log')
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    ax.yaxis.set_major_formatter('{x:g}')
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(frameon=False)
    ax.set_ylabel('loss')


def _miou(ax: Axes, iteration: int, points: list) -> None:
    x, miou = np.array(points).T
    best = miou.argmax()
    label = f'best {miou[best]:.2f} at {x[best]:,.0f}'
    ax.plot(x, miou, 'o-', color=ORANGE, linewidth=1.5, markersize=3)
    ax.plot(x[best], miou[best], 'o', color=ORANGE, markersize=8, fillstyle='none', label=label)
    ax.legend(frameon=False, loc='lower right')
    ax.set_ylabel('mIoU, %')


def _rate(ax: Axes, iteration: int, rates: np.ndarray) -> None:
    ax.plot(_iterations(iteration, rates), rates, color=GREEN, linewidth=1.5)
    ax.set_ylim(0)
    ax.set_ylabel('learning rate')


def _iterations(last: int, values: np.ndarray) -> np.ndarray:
    return np.arange(last - len(values), last) + 1


def smoothed(values: np.ndarray, radius: int) -> np.ndarray:
    """(L,) moving average over ``radius`` values on each side; at the ends, over the values that exist."""
    total, i = np.append(0, values.cumsum()), np.arange(len(values))
    first, end = np.maximum(i - radius, 0), np.minimum(i + radius + 1, len(values))
    return (total[end] - total[first]) / (end - first)
