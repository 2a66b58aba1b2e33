"""Validation pictures: photo, truth and prediction side by side, the same few images at each evaluation of a training.

Stock ``SegVisualizationHook`` with ``draw=True`` reads each image a second time, draws in tests too, and writes class
names into the picture. It stays for ``--show`` and ``--show-dir``; this one takes what the evaluation holds already.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from mmseg_bisenet.engine.only_warn import only_warn
from mmseg_bisenet.registry import HOOKS

LONGEST_SIDE = 768  # of a photo in the picture: three Cityscapes images as they are would be 7 MB of PNG each time


@HOOKS.register_module()
class ValidationPicturesHook(Hook):
    """At each evaluation, send a few pictures to every backend of the visualizer, with the iteration as step.

    The images are spread evenly over the validation set, or over the main process's share of it. A picture that cannot
    be drawn or written is a warning in the log.

    Args:
        count: number of images.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self.wanted = set()  # positions in the set; empty outside of a training

    @master_only
    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            total = len(runner.val_dataloader.sampler)
            self.wanted = {int((i + 0.5) * total / self.count) for i in range(self.count)}

    def before_val_epoch(self, runner: Runner) -> None:
        self.seen = 0

    @master_only
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[SegDataSample] = ()
    ) -> None:
        for image, sample in zip(data_batch['inputs'], outputs, strict=True):
            if self.seen in self.wanted:
                with only_warn(runner, f'the picture of {sample.img_path}'):
                    self._draw(runner, image.cpu().numpy(), sample)
            self.seen += 1

    def _draw(self, runner: Runner, image: np.ndarray, sample: SegDataSample) -> None:
        # `image` is the network's input, (3, H, W) BGR as loaded and resized, before the data preprocessor.
        picture = side_by_side(
            np.ascontiguousarray(image[::-1].transpose(1, 2, 0)).astype(np.uint8),
            sample.gt_sem_seg.data[0].cpu().numpy(),
            sample.pred_sem_seg.data[0].cpu().numpy(),
            runner.val_dataloader.dataset.metainfo['palette'],
        )
        ratio = LONGEST_SIDE / max(picture.shape[0], picture.shape[1] // 3)
        if ratio < 1:
            picture = cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        # MLflow takes the format from the name.
        runner.visualizer.add_image(f'val_{Path(sample.img_path).stem}.png', picture, runner.iter)


def side_by_side(
    photo: np.ndarray, truth: np.ndarray, prediction: np.ndarray, palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Photo, truth and prediction in one picture of the prediction's height and three times its width.

    Args:
        photo: (H', W', 3) uint8.
        truth: (H'', W'') class ids; a pixel of no class, such as 255, is black.
        prediction: (H, W) class ids.
        palette: a colour for each class, in the photo's order of channels.

    Returns:
        (H, 3 W, 3) uint8.
    """
    height, width = prediction.shape
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR)
    truth = cv2.resize(colours[truth], (width, height), interpolation=cv2.INTER_NEAREST)
    return np.hstack([photo, truth, colours[prediction]])
