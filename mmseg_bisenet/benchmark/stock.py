"""The config of MMSegmentation's own segmentor for a config of ours: the baseline of every comparison."""

import copy
import inspect

from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_bisenet.errors import InputError


def stock(model: dict) -> dict:
    """The stock segmentor, backbone and heads for a model of ours.

    Raises:
        InputError: the model is not ours.
    """
    if model['type'] != 'mmseg_bisenet.BiSeNetSegmentor':
        raise InputError(f'model.type={model["type"]}: only mmseg_bisenet.BiSeNetSegmentor is compared with stock')
    init_default_scope('mmseg')
    model = copy.deepcopy(model)
    classes = model.pop('num_classes')
    model.pop('channels_last', None)
    heads = [model['decode_head'], *(model.get('auxiliary_head') or [])]
    for head in heads:
        head.update(type='FCNHead', num_classes=classes, concat_input=False, loss_decode=dict(type='CrossEntropyLoss'))
        head.setdefault('num_convs', 1)
        head.setdefault('in_index', 0)
        head.pop('label_stride', None)
    backbone = model['backbone']
    known = inspect.signature(MODELS.get(backbone['type'].removeprefix('mmseg_bisenet.'))).parameters
    backbone = {key: value for key, value in backbone.items() if key in known}
    model.update(type='EncoderDecoder', backbone=backbone | dict(type=model['backbone']['type'].split('.')[-1]))
    return model
