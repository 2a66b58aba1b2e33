"""Runtime ``eager``: the segmentor as MMSegmentation tests it, without the resizing of its test pipeline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.backends.base import Backend, Engine
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.models import BiSeNetSegmentor


class Eager(Backend):
    """The segmentor's ``test_step``, which gives labels."""

    name = 'eager'
    precisions = ('fp32',)
    any_shape = True

    def build(
        self,
        segmentor: 'BiSeNetSegmentor',
        precision: str,
        shape: tuple[int, int],
        device: 'torch.device',
        images: Sequence[np.ndarray],
    ) -> Engine:
        """Raises:
        InputError: more classes than a byte counts.
        """
        import torch
        from mmseg.structures import SegDataSample

        if segmentor.num_classes > 256:
            raise InputError(f'{segmentor.num_classes} classes: labels are uint8; use a model of at most 256 classes')
        if device.type == 'cuda':
            torch.backends.cudnn.benchmark = True

        def run(images: torch.Tensor) -> torch.Tensor:
            inputs = list(images.permute(0, 3, 1, 2).contiguous())
            metas = dict(img_shape=images.shape[1:3], ori_shape=images.shape[1:3])
            samples = [SegDataSample(metainfo=metas) for _ in inputs]
            results = segmentor.test_step(dict(inputs=inputs, data_samples=samples))
            return torch.cat([sample.pred_sem_seg.data for sample in results]).to(torch.uint8)

        return run
