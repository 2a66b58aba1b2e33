"""Labels of images of any size, in any batch, before and after folding."""

import functools

import pytest
import torch
from base import build, randomise
from hypothesis import given
from hypothesis import strategies as st
from mmseg.structures import SegDataSample
from torch import Tensor, nn

V1 = dict(
    type='mmseg_bisenet.BiSeNetV1',
    backbone_cfg=dict(type='ResNet', depth=18, base_channels=8, num_stages=4, out_indices=(0, 1, 2, 3)),
    context_channels=(16, 32, 64),
    spatial_channels=(8, 8, 8, 16),
    out_channels=32,
)
V2 = dict(
    type='mmseg_bisenet.BiSeNetV2',
    detail_channels=(8, 8, 16),
    semantic_channels=(8, 16, 16, 32),
    bga_channels=16,
)
NORMALISE = dict(type='SegDataPreProcessor', mean=[90.0, 100.0, 110.0], std=[60.0, 70.0, 80.0], bgr_to_rgb=True)


@functools.cache
def segmentor(name: str, classes: int, deployed: bool = False) -> nn.Module:
    backbone, width = dict(v1=(V1, 32), v2=(V2, 16))[name]
    network = build(
        dict(
            type='mmseg_bisenet.BiSeNetSegmentor',
            num_classes=classes,
            data_preprocessor=NORMALISE,
            backbone=backbone,
            decode_head=dict(type='mmseg_bisenet.BiSeNetHead', in_channels=width, channels=16),
        )
    )
    randomise(network).eval()
    if deployed:
        network.switch_to_deploy()
    return network


@st.composite
def photos(draw) -> Tensor:
    """Pixels (N, 3, H, W) uint8."""
    shape = draw(st.integers(1, 3)), 3, draw(st.integers(1, 100)), draw(st.integers(1, 100))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@torch.no_grad()
def logits(network: nn.Module, pixels: Tensor) -> Tensor:
    data = network.data_preprocessor(dict(inputs=list(pixels)), False)
    return network(data['inputs'])


@pytest.mark.parametrize('name', ['v1', 'v2'])
@given(pixels=photos(), classes=st.sampled_from([2, 11]))
def test_images_of_a_batch_are_independent(name, pixels, classes):
    network = segmentor(name, classes)
    together = logits(network, pixels)
    height, width = (-(-side // 8) for side in pixels.shape[2:])
    assert together.shape == (len(pixels), classes, height, width)
    torch.testing.assert_close(
        together, torch.cat([logits(network, one[None]) for one in pixels]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize('name', ['v1', 'v2'])
@given(pixels=photos())
def test_folding_keeps_the_logits(name, pixels):
    torch.testing.assert_close(
        logits(segmentor(name, 5, deployed=True), pixels).contiguous(),
        logits(segmentor(name, 5), pixels),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize('name', ['v1', 'v2'])
@given(pixels=photos(), deployed=st.booleans())
def test_labels_have_the_size_of_the_photo(name, pixels, deployed):
    network = segmentor(name, 5, deployed)
    size = tuple(pixels.shape[2:])
    samples = [SegDataSample(metainfo=dict(img_shape=size, ori_shape=size)) for _ in pixels]
    with torch.no_grad():
        found = network.test_step(dict(inputs=list(pixels), data_samples=samples))
    for sample in found:
        assert sample.pred_sem_seg.data.shape == (1, *size)
        assert sample.pred_sem_seg.data.max() < 5
