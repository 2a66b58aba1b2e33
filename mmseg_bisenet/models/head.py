"""Segmentation head and booster of BiSeNet V1 and V2 (arXiv 2004.02147, figures 3 and 8).

Both are a 3x3 convolution with norm and activation, dropout and a 1x1 convolution; upsampling is the loss's and the
segmentor's work. Widths differ from source to source and are the configs' matter: MMSegmentation's are 256 for V1 and
1024 for V2.
"""

from collections.abc import Sequence

from mmseg.models.decode_heads import FCNHead
from torch import Tensor, nn

from mmseg_bisenet.models.losses.cross_entropy import PixelLoss
from mmseg_bisenet.models.losses.pixel_cross_entropy import pixel_cross_entropy
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetHead(FCNHead):
    """The head whose logits are the prediction.

    Features of the backbone, of which ``in_index`` is taken, (N, in_channels, h, w) -> logits
    (N, num_classes, h, w).

    Args:
        in_channels: width of the backbone's output.
        channels: width in front of the classifier.
        num_classes: number of classes; :class:`BiSeNetSegmentor` fills it in.
        in_index: which of the backbone's outputs.
        num_convs: number of 3x3 convolutions.
        label_stride: the loss sees every ``label_stride``-th pixel of the labels in both directions; 8 is the ``speed``
            recipe of V1's authors, whose loss so needs no upsampled logits.
        loss_decode: a loss, or several of other names. Those of this package never hold the upsampled logits.
        others: as MMSegmentation's ``BaseDecodeHead`` (``norm_cfg``, ``dropout_ratio`` and so on).
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
        **others,
    ) -> None:
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

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps of the backbone -> logits (N, num_classes, h, w)."""
        return self.cls_seg(self.convs(self._transform_inputs(inputs)))

    def _stack_batch_gt(self, batch_data_samples: list) -> Tensor:
        """The labels, (N, 1, ceil(H / label_stride), ceil(W / label_stride))."""
        return super()._stack_batch_gt(batch_data_samples)[..., :: self.label_stride, :: self.label_stride]

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Logits (N, num_classes, h, w) and samples with labels -> losses by name, and ``acc_seg`` in percent."""
        losses = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        if not all(isinstance(loss, PixelLoss) for loss in losses) or self.sampler is not None:
            return super().loss_by_feat(seg_logits, batch_data_samples)
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        pixels, hits = pixel_cross_entropy(seg_logits, labels, self.align_corners, self.ignore_index)
        result = {}
        for loss in losses:
            value = loss.mean(pixels, labels, self.ignore_index)
            result[loss.loss_name] = result.get(loss.loss_name, 0) + value
        # Of shape (1,), as stock logs it.
        result['acc_seg'] = 100 * hits.sum().view(1) / (labels != self.ignore_index).sum().clamp(min=1)
        return result


@MODELS.register_module()
class BoosterHead(BiSeNetHead):
    """An auxiliary head on a stage of the context path or the semantic branch, for training only.

    :class:`BiSeNetSegmentor` never runs it in prediction, and builds and loads without it.
    """
