"""The segmentor: MMSegmentation's encoder-decoder with one knob for the number of classes."""

from collections.abc import Sequence

import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetSegmentor(EncoderDecoder):
    """Backbone, decode head and boosters.

    Channel order, value range and normalisation of the image are the data preprocessor's: by our configs BGR uint8 as
    OpenCV reads it, turned to RGB, with ImageNet's mean and standard deviation in units of 0 to 255.

    Args:
        num_classes: number of classes, of every head.
        channels_last: weights and maps lie in memory pixel by pixel, which most processors convolve faster; results are
            the same but for rounding.
        others: as MMSegmentation's ``EncoderDecoder`` (``backbone``, ``decode_head``, ``auxiliary_head`` and so on).

    Raises:
        InputError: ``num_classes`` is missing, or a head names another one.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        num_classes: int | None = None,
        auxiliary_head: dict | Sequence[dict] | None = None,
        channels_last: bool = False,
        **others,
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
            **others,
        )
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """inputs: (N, 3, H, W), normalised -> the maps of the backbone."""
        return super().extract_feat(inputs.contiguous(memory_format=self.memory_format))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # A training checkpoint fits a network built for inference: boosters are not missed.
        if not self.with_auxiliary_head:
            for key in [key for key in state_dict if key.startswith(f'{prefix}auxiliary_head.')]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


def _with_num_classes(head: dict, num_classes: int, name: str) -> dict:
    if head.get('num_classes', num_classes) != num_classes:
        raise InputError(
            f'BiSeNetSegmentor: model.{name}.num_classes={head["num_classes"]} contradicts '
            f'model.num_classes={num_classes}; remove it from the head'
        )
    return {**head, 'num_classes': num_classes}
