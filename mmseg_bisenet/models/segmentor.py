"""The segmentor: MMSegmentation's encoder-decoder with a single setting for the number of classes.

Deviations from stock in prediction:

- Labels are computed from low-resolution logits without the upsampled logits, for whole images and sliding windows
  (``inference/labels.py``). They equal stock's labels for the same, contiguous logits. Models with a single foreground
  class, and heads with their own ``predict``, use stock's code.
- ``seg_logits`` are kept only with ``test_cfg.keep_logits=True``; at 1024x2048 and 19 classes they take 160 MB.
- ``test_cfg.mode`` also accepts the protocols of CoinCheung's tables (``inference/protocols.py``).
- The first layers run on strips of rows on a CPU (``inference/tiling.py``).
- ``switch_to_deploy`` folds norms and normalisation into the convolutions (``inference/fold.py``).
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.bisenetv2.semantic_branch import CEBlock
from mmseg_bisenet.models.inference import fold, protocols, tiling
from mmseg_bisenet.models.inference.labels import Logits, padding
from mmseg_bisenet.models.inference.upsample_argmax import upsample_argmax
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetSegmentor(EncoderDecoder):
    """Backbone, decode head and boosters.

    The data preprocessor sets channel order, value range and normalisation of the image. In our configs it takes BGR
    uint8, as OpenCV reads images, converts to RGB, and normalises with ImageNet's mean and standard deviation.

    Args:
        num_classes: number of classes of every head.
        channels_last: use the channels-last memory format, in which most processors convolve faster; results differ
            only by rounding.
        test_cfg: ``mode`` is ``'whole'``, ``'slide'`` with ``crop_size`` and ``stride``, or a protocol of
            ``inference/protocols.py`` with its options; ``keep_logits=True`` leaves ``seg_logits`` in the results,
            which MMSegmentation's own ``SegTTAModel`` needs. With ``nearest_labels=True`` and without logits, the modes
            ``whole`` and ``slide`` choose the labels at the size of the input and resize them to the image's by nearest
            neighbour, as face parsing code does; by default the logits are resized.
        others: arguments of MMSegmentation's ``EncoderDecoder`` (``neck``, ``data_preprocessor`` and so on).

    Raises:
        InputError: ``num_classes`` is missing, a head has another number, ``test_cfg.mode`` is unknown, nothing
            reads an option of ``test_cfg``, or a protocol is set for a single foreground class.
    """

    data_preprocessor: BaseDataPreprocessor

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        num_classes: int | None = None,
        auxiliary_head: dict | list[dict] | tuple[dict, ...] | None = None,
        channels_last: bool = False,
        test_cfg: dict = dict(mode='whole'),
        **others: Any,
    ) -> None:
        if num_classes is None:
            raise InputError(
                'BiSeNetSegmentor: model.num_classes is missing; set it to the number of classes of the data set, '
                'e.g. model = dict(num_classes=19)'
            )
        if isinstance(auxiliary_head, list | tuple):
            auxiliary_head = [_with_num_classes(head, num_classes, 'auxiliary_head') for head in auxiliary_head]
        elif auxiliary_head is not None:
            auxiliary_head = _with_num_classes(auxiliary_head, num_classes, 'auxiliary_head')
        super().__init__(
            backbone,
            _with_num_classes(decode_head, num_classes, 'decode_head'),
            auxiliary_head=auxiliary_head,
            test_cfg=protocols.check(test_cfg),
            **others,
        )
        if type(self.decode_head).predict is BaseDecodeHead.predict:  # another one gets test_cfg, with its own options
            protocols.check_options(self.test_cfg)
        if self.train_cfg and type(self.decode_head).loss is BaseDecodeHead.loss:
            keys = ', '.join(map(str, self.train_cfg))
            raise InputError(f'BiSeNetSegmentor: nothing reads model.train_cfg ({keys}); remove it')
        if self.out_channels == 1 and self.test_cfg.mode in protocols.PROTOCOLS:
            raise InputError(
                f'BiSeNetSegmentor: model.test_cfg.mode={self.test_cfg.mode} compares probabilities of classes, and '
                'the decode_head has a single channel; set the mode to whole or slide, or use --aug-test'
            )
        self.deployed = False
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)
        tiling.enable(self)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Rewrite the network in place for inference; labels change only at ties. It cannot be undone.

        Boosters are dropped, batch norms are folded into the convolutions, and the normalisation of the image into the
        first convolutions. Afterwards the data preprocessor gives, and the network takes, pixels as OpenCV reads them:
        (N, 4, H, W) of blue, green and red from 0 to 255, and ``fold.CONSTANT``, or zero in the padding.

        Raises:
            InputError: the normalisation cannot be folded; the network is unchanged, but in evaluation mode.
        """
        if self.deployed:
            return
        self.eval()
        matrix, shift = fold.normalization(self.data_preprocessor)
        convolutions = fold.image_convolutions(self.backbone)
        self.auxiliary_head = None
        for block in self.modules():
            if isinstance(block, CEBlock):
                block.gap[1] = fold.fold_norm_into_next(block.gap[1], block.conv_gap.conv)
        for conv in convolutions:
            fold.fold_normalization(conv, matrix, shift)
        fold.pad_statically(self)
        fold.fold_batch_norms(self)
        self.requires_grad_(False)
        device = self.data_preprocessor.device
        self.data_preprocessor = fold.PixelPreprocessor(getattr(self.data_preprocessor, 'test_cfg', None)).to(device)
        self.memory_format = torch.channels_last
        self.to(memory_format=self.memory_format)
        self.deployed = True

    def train(self, mode: bool = True) -> 'BiSeNetSegmentor':
        """Raises:
        InputError: the network was rewritten for inference and cannot be trained.
        """
        if mode and getattr(self, 'deployed', False):
            raise InputError(
                'BiSeNetSegmentor: a network cannot be trained after switch_to_deploy; build the network again'
            )
        return super().train(mode)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """As stock.

        Raises:
            InputError: the images have different sizes, after ``data_preprocessor.size`` has padded them.
        """
        if size := getattr(self.data_preprocessor, 'size', None):
            _require_one_size(data, 'train_dataloader', size)
        return super().train_step(data, optim_wrapper)

    def val_step(self, data: dict) -> list[SegDataSample]:
        """As ``test_step``."""
        _require_one_size(data, 'val_dataloader')
        return super().val_step(data)

    def test_step(self, data: dict) -> list[SegDataSample]:
        """A batch with ``inputs`` and ``data_samples`` from a data loader -> samples with the results of ``predict``.

        Raises:
            InputError: the images have different sizes.
        """
        _require_one_size(data, 'test_dataloader')
        return super().test_step(data)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """inputs: (N, 3, H, W), normalised, or (N, 4, H, W) after ``switch_to_deploy`` -> outputs of the backbone."""
        return super().extract_feat(inputs.contiguous(memory_format=self.memory_format))

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Labels of images at their original size.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: one per image; resizing, padding and flip in their meta data are undone. By default new ones.

        Returns:
            The samples with ``pred_sem_seg``, (1, *ori_shape) int64. With ``test_cfg.keep_logits`` also ``seg_logits``,
            (num_classes, *ori_shape), which are summed probabilities if the mode is a protocol.
        """
        size = inputs.shape[2:]
        samples = [SegDataSample() for _ in inputs] if data_samples is None else data_samples
        metas = [dict(img_shape=size, ori_shape=size) | sample.metainfo for sample in samples]
        if not self.test_cfg.get('nearest_labels', False) or self.test_cfg.get('keep_logits', False):
            return self._predict(inputs, data_samples, samples, metas)
        small = [meta | dict(ori_shape=_without_padding(meta, size)) for meta in metas]
        samples = self._predict(inputs, data_samples, samples, small)
        for sample, meta in zip(samples, metas, strict=True):
            labels = F.interpolate(sample.pred_sem_seg.data[None].float(), tuple(meta['ori_shape'][:2]), mode='nearest')
            sample.pred_sem_seg = PixelData(data=labels[0].long())
        return samples

    def _predict(
        self,
        inputs: Tensor,
        data_samples: list[SegDataSample] | None,
        samples: list[SegDataSample],
        metas: list[dict],
    ) -> list[SegDataSample]:
        """As ``predict``, with the meta data that count; ``samples`` are ``data_samples``, or new ones."""
        size = inputs.shape[2:]
        keep = self.test_cfg.get('keep_logits', False)
        if not self._is_plain(size, metas[0]):
            samples = super().predict(inputs, data_samples)
            for sample in samples if not keep else ():
                del sample.seg_logits
            return samples
        windows = protocols.windows(size, self.test_cfg)
        maps = [self._forward(inputs[:, :, rows, columns]).contiguous() for rows, columns in windows]
        dtype = inputs.dtype if self.test_cfg.mode == 'slide' else maps[0].dtype  # they differ under autocast
        if self.deployed and not keep and len(maps) == 1 and all(_is_whole(meta, size) for meta in metas):
            for sample, labels in zip(samples, upsample_argmax(maps[0], size, self.align_corners), strict=True):
                sample.pred_sem_seg = PixelData(data=labels[None].long())
            return samples
        logits = Logits(windows, maps, size, self.align_corners, dtype)
        for image, (sample, meta) in enumerate(zip(samples, metas, strict=True)):
            if keep:
                sample.seg_logits = PixelData(data=logits.full(image, meta))
            sample.pred_sem_seg = PixelData(data=logits.labels(image, meta))
        return samples

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """(N, 3, H, W) -> logits (N, num_classes, H, W), or summed probabilities if the mode is a protocol."""
        if self.test_cfg.mode in protocols.PROTOCOLS:
            return protocols.probabilities(self._logits, inputs, self.test_cfg)
        return super().inference(inputs, batch_img_metas)

    def _logits(self, inputs: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes, H, W)."""
        return self.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])])

    def _is_plain(self, size: Sequence[int], meta: dict) -> bool:
        """Whether prediction is bilinear upsampling of the head's logits to ``size`` and an argmax."""
        head = type(self.decode_head)
        target = meta['img_shape']
        if 'pad_shape' in meta and not isinstance(target, torch.Size):
            target = meta['pad_shape'][:2]
        return (
            self.test_cfg.mode not in protocols.PROTOCOLS
            and (self.test_cfg.mode == 'slide' or tuple(target) == tuple(size))
            and self.out_channels > 1
            and head.predict is BaseDecodeHead.predict
            and head.predict_by_feat is BaseDecodeHead.predict_by_feat
        )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        # A training checkpoint fits a network without boosters.
        if not self.with_auxiliary_head:
            for key in [key for key in state_dict if key.startswith(f'{prefix}auxiliary_head.')]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


def _require_one_size(data: dict, dataloader: str, least: Sequence[int] = (0, 0)) -> None:
    sizes = [tuple(map(max, image.shape[-2:], least)) for image in data['inputs']]
    other = next((i for i, size in enumerate(sizes) if size != sizes[0]), 0)
    if other:
        first, second = (
            f'{data["data_samples"][i].get("img_path")} is {sizes[i][1]}x{sizes[i][0]}' for i in (0, other)
        )
        raise InputError(
            f'{first} and {second} (width x height) at the input of the network, but a batch needs images of one size; '
            + (
                'set model.data_preprocessor.size to crop_size'
                if dataloader == 'train_dataloader'
                else f'set {dataloader}.batch_size=1, or resize to one size in its pipeline'
            )
        )


def _without_padding(meta: dict, size: Sequence[int]) -> tuple[int, int]:
    left, right, top, bottom = padding(meta)
    return size[0] - top - bottom, size[1] - left - right


def _is_whole(meta: dict, size: Sequence[int]) -> bool:
    """Whether an image has the size of the input, without padding and flip."""
    return not any(padding(meta)) and not meta.get('flip') and tuple(meta['ori_shape'][:2]) == tuple(size)


def _with_num_classes(head: dict, num_classes: int, name: str) -> dict:
    if not isinstance(head, dict):
        raise InputError(f'BiSeNetSegmentor: model.{name} is a {type(head).__name__}; give one head, a dict')
    if head.get('num_classes', num_classes) != num_classes:
        raise InputError(
            f'BiSeNetSegmentor: model.{name}.num_classes={head["num_classes"]} contradicts '
            f'model.num_classes={num_classes}; remove it from the head'
        )
    return {**head, 'num_classes': num_classes}
