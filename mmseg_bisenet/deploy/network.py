"""The network that is exported, compiled and quantized: pixels in, logits at an eighth of their size out."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.models.inference.fold import CONSTANT
from mmseg_bisenet.palette import colours_for, fault_of_names

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


def describe(segmentor: BiSeNetSegmentor) -> dict:
    """``align_corners`` of the logits, ``num_classes``, ``classes`` (names, or numbers) and ``palette``.

    Raises:
        InputError: the segmentor's names or colours of classes cannot be.
    """
    meta = getattr(segmentor, 'dataset_meta', None) or {}
    count = segmentor.num_classes
    classes = tuple(meta.get('classes') or map(str, range(count)))
    palette = colours_for(count, meta.get('palette'))
    if fault := fault_of_names(dict(classes=classes, palette=palette)):
        raise InputError(f'the dataset_meta of the network {fault}; fix it')
    return dict(align_corners=segmentor.align_corners, num_classes=count, classes=classes, palette=palette)


class DeployNetwork(nn.Module):
    """A copy of a segmentor, rewritten for inference.

    ``.bfloat16()`` and ``.half()`` change the precision of the network and of its logits. It has the attributes that
    :func:`describe` returns.

    Args:
        segmentor: for example from :func:`mmseg_bisenet.get_model`; it is left as it is.

    Raises:
        InputError: its labels are not the argmax over a whole image's logits, its preprocessor pads images, or
            ``switch_to_deploy`` refuses it.
    """

    align_corners: bool
    num_classes: int
    classes: tuple[str, ...]
    palette: list

    def __init__(self, segmentor: BiSeNetSegmentor) -> None:
        super().__init__()
        if segmentor.test_cfg.mode != 'whole':
            raise InputError(
                f'model.test_cfg.mode={segmentor.test_cfg.mode}: a deployed network sees whole images; set it to whole'
            )
        if segmentor.out_channels == 1:
            raise InputError(
                'model.decode_head.out_channels=1: a deployed network takes the largest of several classes; '
                'train with num_classes=2 and without out_channels'
            )
        if padding := getattr(segmentor.data_preprocessor, 'test_cfg', None):
            raise InputError(
                f'model.data_preprocessor.test_cfg={dict(padding)}: a deployed network does not pad images; '
                'set it to None, and give images of that size'
            )
        if segmentor.with_neck:
            raise InputError(
                'model.neck: a deployed network is a backbone and a decode head; make it part of the backbone'
            )
        segmentor = copy.deepcopy(segmentor)
        segmentor.switch_to_deploy()
        self.backbone = segmentor.backbone
        self.decode_head = segmentor.decode_head
        vars(self).update(describe(segmentor))
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network and of its logits, which the kernels of ``winograd.head`` give in float32."""
        return self.decode_head.conv_seg.weight.dtype

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, H, W, 3) uint8, BGR -> logits (N, num_classes, ceil(H / 8), ceil(W / 8))."""
        return self.logits(with_constant(images))

    def logits(self, pixels: Tensor) -> Tensor:
        """pixels: images with the channel of :func:`with_constant`, (N, H, W, 4) uint8 -> as ``forward``."""
        return self.decode_head(self.backbone(pixels.permute(0, 3, 1, 2).to(self.dtype)))


def with_constant(images: Tensor) -> Tensor:
    """(N, H, W, 3) -> (N, H, W, 4): with the fourth channel that ``switch_to_deploy`` needs."""
    return F.pad(images, (0, 1), value=CONSTANT)
