"""An exported file as a model of MMSegmentation's test loop: the same data, metrics and pictures."""

import logging
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_bisenet.deploy.loading import load
from mmseg_bisenet.registry import MODELS

SQUEEZED = 1.05  # ratio of height and width of an image to those of the file, above which a warning says so


@MODELS.register_module()
class ExportedSegmentor(BaseModel):
    """A model that runs an exported file. It has no parameters, and gives labels only, no logits.

    Images reach the file as the test pipeline leaves them, resized if the file takes one shape only: a warning says
    so if that squeezes them. Labels are resized to the image's original size by nearest neighbour.

    Args:
        exported: path of the file.
        others: arguments of :func:`mmseg_bisenet.deploy.load`.
    """

    def __init__(self, exported: str, **others: Any) -> None:
        super().__init__(BaseDataPreprocessor())
        self.exported = exported
        self.segment = load(exported, **others)
        self._warned, self._noted = False, set[str]()

    def forward(
        self, inputs: list[Tensor], data_samples: list[SegDataSample], mode: str = 'predict'
    ) -> list[SegDataSample]:
        """inputs: (3, H, W) uint8, BGR -> the samples, with ``pred_sem_seg``, (1, *ori_shape) int64."""
        for image, sample in zip(inputs, data_samples, strict=True):
            pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
            if not self.segment.dynamic:
                self._warn(*pixels.shape[:2])
                self._note('images', pixels.shape[:2], self.segment.shape, 'the file takes one shape only')
                pixels = cv2.resize(pixels, self.segment.shape[::-1], interpolation=cv2.INTER_AREA)
            labels = self.segment(pixels)
            self._note('labels', labels.shape, sample.ori_shape[:2], 'the file has no logits to resize')
            labels = cv2.resize(labels, sample.ori_shape[1::-1], interpolation=cv2.INTER_NEAREST)
            sample.pred_sem_seg = PixelData(data=torch.from_numpy(labels).long()[None])
        return data_samples

    def _warn(self, height: int, width: int) -> None:
        own_height, own_width = self.segment.shape
        ratio = own_height * width / (own_width * height)
        if max(ratio, 1 / ratio) > SQUEEZED and not self._warned:
            self._warned = True
            print_log(
                f'images of {height}x{width} are squeezed to the {own_height}x{own_width} of {self.exported}, which '
                'lowers the scores; export with --dynamic, or in the shape of the images',
                'current',
                logging.WARNING,
            )

    def _note(self, what: str, given: Sequence[int], wanted: Sequence[int], reason: str) -> None:
        if tuple(given) != tuple(wanted) and what not in self._noted:
            self._noted.add(what)
            print_log(
                f'{what} of {given[0]}x{given[1]} are resized to {wanted[0]}x{wanted[1]}, because {reason}; scores can '
                "differ from the network's, the more the smaller the file's input is",
                'current',
            )
