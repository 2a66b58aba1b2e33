"""Validation pictures: image, truth and prediction side by side, for the same few images at each evaluation.

The stock ``SegVisualizationHook`` with ``draw=True`` reads each image a second time, draws in tests too, and writes
class names into the picture. ``--show`` and ``--show-dir`` still use it. This hook draws what the evaluation has in
memory.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from mmseg_bisenet.engine.named_pictures import PictureNames
from mmseg_bisenet.engine.only_warn import only_warn
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.palette import paint
from mmseg_bisenet.registry import HOOKS

LONGEST_SIDE = 768  # pixels; at full size, three Cityscapes images are a PNG of 7 MB


@HOOKS.register_module()
class ValidationPicturesHook(Hook):
    """At each evaluation, send a few pictures to every backend of the visualizer, with the iteration as step.

    The images are spread evenly over the validation set, or over the main process's share of it. If a picture cannot
    be drawn or written, the log has a warning.

    Args:
        count: number of images.

    Raises:
        InputError: it is negative.
    """

    def __init__(self, count: int = 4) -> None:
        if count < 0:
            raise InputError(f'ValidationPicturesHook: count={count}; give 0 or more')
        self.count = count
        self.names = PictureNames()
        self.wanted: set[int] = set()  # positions in the validation set; empty unless training

    @master_only
    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            total = len(runner.val_dataloader.sampler)
            self.wanted = {int((i + 0.5) * total / self.count) for i in range(self.count)}

    def before_val_epoch(self, runner: Runner) -> None:
        self.seen = 0

    @master_only
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[SegDataSample] = ()
    ) -> None:
        for image, sample in zip(data_batch['inputs'], outputs, strict=True):
            if self.seen in self.wanted:
                with only_warn(runner, f'the picture of {sample.img_path}'):
                    self._draw(runner, image.cpu().numpy(), sample)
            self.seen += 1

    def _draw(self, runner: Runner, image: np.ndarray, sample: SegDataSample) -> None:
        # `image` is what the pipeline gives, before the data preprocessor: (3, H, W) BGR uint8, resized.
        picture = side_by_side(
            np.ascontiguousarray(image[::-1].transpose(1, 2, 0)).astype(np.uint8),
            sample.gt_sem_seg.data[0].cpu().numpy(),
            sample.pred_sem_seg.data[0].cpu().numpy(),
            runner.val_dataloader.dataset.metainfo['palette'],
        )
        ratio = LONGEST_SIDE / max(picture.shape[0], picture.shape[1] // 3)
        if ratio < 1:
            picture = cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        name = self.names.name(sample.img_path, Path(sample.img_path).stem)
        runner.visualizer.add_image(f'val_{name}.png', picture, runner.iter)  # MLflow needs the suffix


def side_by_side(
    photo: np.ndarray, truth: np.ndarray, prediction: np.ndarray, palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Put image, truth and prediction side by side, at the size of the prediction.

    Args:
        photo: (H', W', 3) uint8.
        truth: (H'', W'') class ids; ids without a colour, such as 255, are black.
        prediction: (H, W) class ids.
        palette: a colour for each class, in the channel order of ``photo``.

    Returns:
        (H, 3 W, 3) uint8.
    """
    height, width = prediction.shape
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR)
    truth = cv2.resize(paint(truth, palette), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.hstack([photo, truth, paint(prediction, palette)])
