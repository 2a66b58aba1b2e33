"""Each rewrite for inference computes what it replaces."""

import copy
import itertools

import pytest
import torch
from base import randomise
from mmcv.cnn import ConvModule
from mmengine.hooks import EMAHook
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmseg_bisenet
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference import fold

CONFIGS = [
    'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024',
    'bisenetv2-paper_fcn_4xb4-ohem-150k_cityscapes-1024x1024',
    'bisenetv2_fcn-coincheung_2xb8-ohem-150k_cityscapes-512x1024',
    'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024',
    'bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024',
    'bisenetv1_r18-d32-faceparsing_1xb16-ohem-80k_celebamask-512x512',
    'bisenetv2_fcn-paddleseg_4xb4-160k_cityscapes-1024x1024',
]
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def close(actual, expected):
    """Equal up to rounding in float64."""
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def pixels(n: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator).byte()


def batch(images: torch.Tensor, **meta) -> dict:
    shape = tuple(images.shape[2:])
    samples = [SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape) | meta) for _ in images]
    return dict(inputs=list(images), data_samples=samples)


@pytest.fixture(params=CONFIGS)
def segmentor(request):
    return randomise(mmseg_bisenet.get_model(request.param, num_classes=7)).eval()


@pytest.mark.parametrize('affine', [True, False])
@pytest.mark.parametrize('bias', [True, False])
def test_fold_batch_norms(affine, bias):
    layers = [nn.Conv2d(3, 8, 3, bias=bias, groups=1), nn.BatchNorm2d(8, affine=affine), nn.ReLU()]
    layers += [nn.Conv2d(8, 8, 3, groups=8, bias=bias), nn.BatchNorm2d(8, eps=0.01, affine=affine)]
    network = randomise(nn.Sequential(*layers)).double().eval()
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    expected = network(x)
    fold.fold_batch_norms(network)
    assert not any(isinstance(layer, _BatchNorm) for layer in network)
    close(network(x), expected)


def test_norms_that_are_no_part_of_a_convolution_stay():
    from mmcv.cnn.bricks.conv_ws import ConvWS2d

    layers = [ConvWS2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.ReLU()]
    layers += [nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)]
    network = randomise(nn.Sequential(*layers)).eval()
    x = torch.randn(2, 3, 15, 15)
    expected = network(x)
    fold.fold_batch_norms(network)
    assert [type(layer) for layer in network] == [type(layer) for layer in layers]
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize('order', list(itertools.permutations(('conv', 'norm', 'act'))))
def test_norms_fold_in_the_order_of_use(order):
    layer = randomise(ConvModule(8, 8, 3, padding=1, norm_cfg=dict(type='BN'), order=order)).double().eval()
    x = torch.randn(1, 8, 9, 11, dtype=torch.float64)
    expected = layer(x)
    fold.fold_batch_norms(layer)
    close(layer(x), expected)
    assert isinstance(layer.bn, _BatchNorm) == (order.index('norm') != order.index('conv') + 1)


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('affine', [True, False])
def test_fold_norm_into_next(affine, bias):
    norm, conv = nn.BatchNorm2d(6, affine=affine), nn.Conv2d(6, 4, 1, bias=bias)
    network = randomise(nn.Sequential(norm, conv)).double().eval()
    x = torch.randn(2, 6, 1, 1, dtype=torch.float64)
    expected = network(x)
    replaced = fold.fold_norm_into_next(norm, conv)
    assert isinstance(replaced, nn.Identity)
    close(conv(x), expected)


def test_a_norm_in_front_of_padding_stays():
    norm, conv = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, padding=1)
    weight = conv.weight.clone()
    assert fold.fold_norm_into_next(norm, conv) is norm
    assert torch.equal(conv.weight, weight)


@pytest.mark.parametrize('order', [dict(bgr_to_rgb=True), dict(rgb_to_bgr=True), dict()])
@pytest.mark.parametrize('padding', [None, dict(size_divisor=32), dict(size=(64, 64))])
def test_normalization_is_what_the_preprocessor_does(order, padding):
    preprocessor = SegDataPreProcessor(mean=MEAN, std=STD, test_cfg=padding, **order)
    matrix, shift = fold.normalization(preprocessor)
    image = torch.tensor([[[12.0]], [[200.0]], [[77.0]]])
    sample = [SegDataSample()]
    expected = preprocessor(dict(inputs=[image], data_samples=sample))['inputs'][0, :, 0, 0]
    torch.testing.assert_close((matrix @ image[:, 0, 0].double() + shift).float(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kernel', [3, 7])
def test_fold_normalization_pads_with_the_mean(kernel):
    conv = nn.Conv2d(3, 5, kernel, 2, kernel // 2).double()
    folded = copy.deepcopy(conv)
    matrix = torch.diag(1 / torch.tensor(STD, dtype=torch.float64)).flip(1)
    shift = -torch.tensor(MEAN, dtype=torch.float64) / torch.tensor(STD, dtype=torch.float64)
    fold.fold_normalization(folded, matrix, shift)
    image = pixels(2, 13, 18).double()
    normalised = torch.einsum('oi,nihw->nohw', matrix, image) + shift[:, None, None]
    close(folded(torch.cat([image, torch.full((2, 1, 13, 18), fold.CONSTANT)], dim=1)), conv(normalised))


def test_convolutions_that_read_the_image(segmentor):
    names = {id(module): name for name, module in segmentor.backbone.named_modules()}
    found = sorted(names[id(conv)] for conv in fold.image_convolutions(segmentor.backbone))
    assert found in (
        ['detail.detail_branch.0.0.conv', 'semantic.stage1.conv_first.conv'],
        ['context_path.backbone.conv1', 'spatial_path.layer1.conv'],
        ['context_path.backbone.stem.conv', 'spatial_path.layer1.conv'],
        ['context_path.backbone.conv1'],
    )


def test_deployed_logits_are_the_same(segmentor):
    segmentor = segmentor.double()
    images = pixels(2, 70, 97)
    normalised = segmentor.data_preprocessor(batch(images))['inputs'].double()
    expected = segmentor(normalised)
    network = DeployNetwork(segmentor)
    actual = network(images.permute(0, 2, 3, 1))
    assert not any(isinstance(layer, _BatchNorm) for layer in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)  # the preprocessor rounds to float32


@pytest.mark.parametrize('test_cfg', [dict(mode='whole'), dict(mode='slide', crop_size=(48, 64), stride=(32, 40))])
@pytest.mark.parametrize('padding', [None, dict(size_divisor=32)])
@pytest.mark.parametrize('meta', [dict(), dict(flip=True, flip_direction='horizontal'), dict(ori_shape=(100, 160))])
def test_deployed_labels_are_the_same(configs, test_cfg, padding, meta):
    segmentor = randomise(mmseg_bisenet.get_model(CONFIGS[0], num_classes=7)).eval()
    segmentor.test_cfg.update(test_cfg)
    segmentor.data_preprocessor.test_cfg = padding
    images = pixels(2, 70, 97)
    with torch.no_grad():
        expected = segmentor.test_step(batch(images, **meta))
        segmentor.test_cfg.keep_logits = True
        logits = [sample.seg_logits.data for sample in segmentor.test_step(batch(images, **meta))]
        segmentor.test_cfg.keep_logits = False
        segmentor.switch_to_deploy()
        actual = segmentor.test_step(batch(images, **meta))
    for ours, theirs, scores in zip(actual, expected, logits, strict=True):
        labels = ours.pred_sem_seg.data
        assert labels.dtype == torch.int64
        assert labels.shape == theirs.pred_sem_seg.data.shape
        best = scores.amax(0)
        torch.testing.assert_close(scores.gather(0, labels)[0], best, rtol=1e-4, atol=1e-4)
        assert (labels == theirs.pred_sem_seg.data).float().mean() > 0.999


def test_the_constant_channel_has_weights_as_small_as_those_of_pixels():
    """They share a scale in int8."""
    network = DeployNetwork(mmseg_bisenet.get_model(CONFIGS[0]))
    weight = network.backbone.detail.detail_branch[0][0].conv.weight
    assert weight[:, 3].abs().max() < 2 * weight[:, :3].abs().max()


def test_a_deployed_network_cannot_be_trained():
    segmentor = mmseg_bisenet.get_model(CONFIGS[0], boosters=True)
    assert segmentor.with_auxiliary_head
    segmentor.switch_to_deploy()
    segmentor.switch_to_deploy()  # a second call changes nothing
    assert not segmentor.with_auxiliary_head
    assert segmentor.eval() is segmentor
    with pytest.raises(InputError, match='build the network again'):
        segmentor.train()


def test_what_cannot_be_folded_is_refused_and_left_alone():
    segmentor = mmseg_bisenet.get_model(CONFIGS[0])
    keys = list(segmentor.state_dict())
    segmentor.data_preprocessor.pad_val = 1
    with pytest.raises(InputError, match='pad_val=1'):
        segmentor.switch_to_deploy()
    segmentor.data_preprocessor.pad_val = 0
    segmentor.backbone.detail.detail_branch[0][0].conv.padding_mode = 'reflect'
    with pytest.raises(InputError, match='reads the image in BiSeNetV2'):
        segmentor.switch_to_deploy()
    assert list(segmentor.state_dict()) == keys

    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x[:, :, ::2, ::2])

    with pytest.raises(InputError, match='no layer of Halved reads the original image'):
        fold.image_convolutions(Halved())

    class Gamma(SegDataPreProcessor):
        def forward(self, data, training=False):
            result = super().forward(data, training)
            return result | dict(inputs=result['inputs'] ** 2)

    with pytest.raises(InputError, match='Gamma does more than subtract a mean'):
        fold.normalization(Gamma(mean=MEAN, std=STD))


def test_the_hook_finds_the_segmentor_in_a_test(configs):
    from mmseg_bisenet.engine import SwitchToDeployHook
    from mmseg_bisenet.models import BiSeNetTTA

    class Runner:
        model = BiSeNetTTA(mmseg_bisenet.get_model(CONFIGS[0]))
        hooks = []

    SwitchToDeployHook().before_test(Runner)
    assert Runner.model.module.deployed
    Runner.model = nn.Linear(1, 1)
    with pytest.raises(InputError, match='Linear is no mmseg_bisenet'):
        SwitchToDeployHook().before_test(Runner)
    Runner.hooks = [EMAHook()]
    with pytest.raises(
        InputError, match=r'EMAHook exchanges weights that no longer exist; remove EMAHook from custom_hooks'
    ):
        SwitchToDeployHook().before_test(Runner)


def test_what_is_no_argmax_of_a_whole_image_is_no_deploy_network():
    segmentor = mmseg_bisenet.get_model(CONFIGS[0])
    segmentor.test_cfg.update(mode='slide', crop_size=(64, 64), stride=(32, 32))
    with pytest.raises(InputError, match='mode=slide'):
        DeployNetwork(segmentor)
    segmentor.test_cfg.mode = 'whole'
    segmentor.neck = nn.Identity()
    with pytest.raises(InputError, match=r'model\.neck: a deployed network is a backbone and a decode head'):
        DeployNetwork(segmentor)
    segmentor.neck = None
    segmentor.decode_head.out_channels = segmentor.out_channels = 1
    with pytest.raises(InputError, match='out_channels=1'):
        DeployNetwork(segmentor)
