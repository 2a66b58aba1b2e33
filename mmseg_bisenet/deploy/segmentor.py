"""An exported file in the place of a network, for MMSegmentation's test loop: the same data, metrics and pictures."""

import cv2
import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_bisenet.deploy.runtimes import load
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class ExportedSegmentor(BaseModel):
    """Labels by what ``mmseg-bisenet export`` wrote. It has no parameters, and no logits to give.

    Images reach the file as the test pipeline leaves them, or resized where it takes one shape only; labels are resized
    to the image's original size by nearest neighbour.

    Args:
        exported: path of the file.
        others: as :func:`mmseg_bisenet.deploy.load`.
    """

    def __init__(self, exported: str, **others) -> None:
        super().__init__(BaseDataPreprocessor())
        self.exported = exported
        self.segment = load(exported, **others)

    def forward(
        self, inputs: list[Tensor], data_samples: list[SegDataSample], mode: str = 'predict'
    ) -> list[SegDataSample]:
        """inputs: (3, H, W) uint8, BGR -> the samples, with ``pred_sem_seg``, (1, *ori_shape) int64."""
        for image, sample in zip(inputs, data_samples, strict=True):
            pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
            if not self.segment.dynamic:
                pixels = cv2.resize(pixels, self.segment.shape[::-1], interpolation=cv2.INTER_AREA)
            labels = cv2.resize(self.segment(pixels), sample.ori_shape[1::-1], interpolation=cv2.INTER_NEAREST)
            sample.pred_sem_seg = PixelData(data=torch.from_numpy(labels).long()[None])
        return data_samples
