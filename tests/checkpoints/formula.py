"""Weights and images by a formula, and networks filled with them."""

import zlib
from pathlib import Path

import numpy as np
import torch
from base import build
from models.test_segmentor import read
from torch import Tensor, nn


def tensor(name: str, shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """An entry of a state dict, from its name and shape alone."""
    if name.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.int64)
    noise = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(size=shape)
    if len(shape) == 4:
        noise = noise * np.sqrt(1 / np.prod(shape[1:]))
    elif name.endswith('running_var'):
        noise = np.exp(0.1 * noise)
    elif name.endswith('weight'):
        noise = 1 + 0.1 * noise
    else:
        noise = 0.1 * noise
    return torch.from_numpy(np.asarray(noise, dtype=np.float32))


def quick_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Another one, for networks of many millions of parameters."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith('num_batches_tracked'):
        return torch.randint(1000, tuple(shape), generator=generator)
    return torch.rand(tuple(shape), generator=generator)


def image(height: int, width: int, seed: int = 1) -> Tensor:
    """A normalised image, (1, 3, height, width)."""
    noise = np.random.RandomState(seed).standard_normal((1, 3, height, width))
    return torch.from_numpy(noise.astype('float32'))


def segmentor(config: Path, state_dict: dict[str, Tensor], **backbone) -> nn.Module:
    """A config's network with those weights, every one of them used and none missing; ``backbone`` changes it."""
    cfg = read(str(config), (64, 64)).model
    cfg.num_classes = len(state_dict['decode_head.conv_seg.weight'])
    cfg.backbone.update(backbone)
    if not any(key.startswith('auxiliary_head.') for key in state_dict):
        cfg.auxiliary_head = None
    with torch.device('meta'):
        model = build(cfg)
    model.load_state_dict(state_dict, strict=True, assign=True)
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module, x: Tensor) -> Tensor:
    """(N, classes, H, W), of the image's own size."""
    return model.encode_decode(x, [dict(img_shape=x.shape[2:], ori_shape=x.shape[2:])])
