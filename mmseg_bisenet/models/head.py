"""Segmentation head and booster of BiSeNet V1 and V2 (arXiv 2004.02147, figures 3 and 8).

Both are a 3x3 convolution with norm and activation, dropout, and a 1x1 convolution. The loss and the segmentor upsample
the logits. The width differs between sources and is set in the configs; MMSegmentation has 256 for V1 and 1024 for V2.
"""

from collections.abc import Sequence
from typing import Any

from mmseg.models.decode_heads import FCNHead
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.losses.cross_entropy import PixelLoss, require_weights
from mmseg_bisenet.models.losses.pixel_cross_entropy import pixel_cross_entropy
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetHead(FCNHead):
    """The head that predicts. Output ``in_index`` of the backbone, (N, in_channels, h, w) -> (N, num_classes, h, w).

    Args:
        in_channels: width of the backbone's output.
        channels: width before the classifier.
        num_classes: number of classes; :class:`BiSeNetSegmentor` fills it in.
        in_index: index of the backbone's output to read.
        num_convs: number of 3x3 convolutions.
        label_stride: the loss uses every ``label_stride``-th row and column of the labels. V1's authors use 8 in their
            ``speed`` recipe, so that the logits need no upsampling.
        loss_decode: a loss, or several with different names. The losses of this package never store upsampled logits.
        others: arguments of MMSegmentation's ``BaseDecodeHead`` (``norm_cfg``, ``dropout_ratio`` and so on).

    Raises:
        InputError: an argument asks for what this head does not do.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = 0,
        num_convs: int = 1,
        label_stride: int = 1,
        loss_decode: dict | list[dict] = dict(type='mmseg_bisenet.CrossEntropyLoss'),
        **others: Any,
    ) -> None:
        name = type(self).__name__
        if others.pop('concat_input', False):
            raise InputError(f'{name} has no concat_input; remove it, or take FCNHead')
        if others.get('input_transform') == 'multiple_select':
            raise InputError(f'{name} reads one map; set input_transform to resize_concat, or remove it')
        super().__init__(
            num_convs,
            concat_input=False,
            in_channels=in_channels,
            channels=channels,
            num_classes=num_classes,
            in_index=in_index,
            loss_decode=loss_decode,
            **others,
        )
        self.label_stride = label_stride
        if self.sampler is not None and any(isinstance(loss, PixelLoss) for loss in self._losses()):
            raise InputError(
                f'{name}.sampler: the losses of mmseg_bisenet take no sampler; remove it, and for hard pixels set '
                'loss_decode.type to mmseg_bisenet.OHEMCrossEntropyLoss'
            )

    def _losses(self) -> list[Any]:
        return list(self.loss_decode) if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Outputs of the backbone -> logits (N, num_classes, h, w)."""
        return self.cls_seg(self.convs(self._transform_inputs(inputs)))

    def _stack_batch_gt(self, batch_data_samples: list) -> Tensor:
        """The labels, (N, 1, ceil(H / label_stride), ceil(W / label_stride))."""
        return super()._stack_batch_gt(batch_data_samples)[..., :: self.label_stride, :: self.label_stride]

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Logits (N, num_classes, h, w) and samples with labels -> named losses, and ``acc_seg`` in percent."""
        losses = self._losses()
        if not all(isinstance(loss, PixelLoss) for loss in losses) or self.sampler is not None:
            return super().loss_by_feat(seg_logits, batch_data_samples)
        if self.out_channels != self.num_classes:
            raise InputError(
                f'out_channels of a head is {self.out_channels} for {self.num_classes} classes, which the losses of '
                'mmseg_bisenet do not take; leave it out, or take CrossEntropyLoss of mmseg with use_sigmoid=True'
            )
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        try:
            pixels, hits = pixel_cross_entropy(seg_logits, labels, self.align_corners, self.ignore_index)
        except IndexError as error:
            raise InputError(
                f'ignore_index of a head: {error}; set it to the id that the labels and '
                'data_preprocessor.seg_pad_val have for pixels that do not count, 255 by default'
            ) from error
        result: dict[str, Tensor] = {}
        for loss in losses:
            require_weights(loss.class_weight, seg_logits)
            value = loss.mean(pixels, labels, self.ignore_index)
            result[loss.loss_name] = result.get(loss.loss_name, 0) + value
        # Shape (1,), as in stock.
        result['acc_seg'] = 100 * hits.sum().view(1) / (labels != self.ignore_index).sum().clamp(min=1)
        return result


@MODELS.register_module()
class BoosterHead(BiSeNetHead):
    """An auxiliary head on a stage of the context path or the semantic branch, for training only.

    :class:`BiSeNetSegmentor` does not run it in prediction, and loads training checkpoints without it.
    """
