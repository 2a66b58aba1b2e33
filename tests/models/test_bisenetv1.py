import pytest
import torch
from base import BackboneTester, build, count, images, narrow, outline, randomise
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.bisenetv1.context_path import AttentionRefinementModule
from mmseg_bisenet.models.bisenetv1.feature_fusion import FeatureFusionModule
from mmseg_bisenet.models.conv import ConvNormAct

RESNET18 = dict(type='ResNet', depth=18, num_stages=4, out_indices=(0, 1, 2, 3))
WIDE = dict(spatial_channels=(256, 256, 256, 512), context_channels=(512, 1024, 2048), out_channels=1024)


class TestBiSeNetV1R18(BackboneTester):
    stock = dict(type='BiSeNetV1', backbone_cfg=RESNET18)
    ours = dict(type='mmseg_bisenet.BiSeNetV1', backbone_cfg=RESNET18)
    norms = 20 + 13  # ResNet-18; 4 spatial, 2 in each ARM, 3 of the context path, 2 in the FFM
    activations = 11  # 13 without the gates of the two ARMs; those of ResNet are always ReLU

    @pytest.mark.parametrize('align_corners', [False, True])
    def test_bilinear_upsampling_and_align_corners(self, align_corners):
        nearest = build(self.ours)
        bilinear = build(self.ours | dict(upsample='bilinear', align_corners=align_corners))
        path = bilinear.context_path
        bilinear.load_state_dict(randomise(nearest).state_dict())
        x = images(1, (96, 160))
        *_, x8, x16, x32 = path.eval().backbone(x)

        def up(feature, like):
            return nn.functional.interpolate(feature, like.shape[2:], mode='bilinear', align_corners=align_corners)

        expected16 = path.conv_head32(up(path.arm32(x32) + path.gap_conv(x32), x16))
        expected8 = path.conv_head16(up(path.arm16(x16) + expected16, x8))
        torch.testing.assert_close(bilinear.eval()(x)[1:], (expected8, expected16))
        assert not torch.allclose(nearest.eval()(x)[1], expected8)

    def test_align_corners_alone_means_bilinear(self):
        corners = build(self.ours | dict(align_corners=True))
        spelled = build(self.ours | dict(align_corners=True, upsample='bilinear'))
        spelled.load_state_dict(randomise(corners).state_dict())
        x = images(1, (96, 160))
        torch.testing.assert_close(corners.eval()(x), spelled.eval()(x), rtol=0, atol=0)

    def test_fusion_is_as_wide_as_the_paths_together(self):
        network = build(self.ours | dict(spatial_channels=(8, 8, 8, 40), context_channels=(24, 256, 512)))
        assert network.ffm.conv1.conv.in_channels == 64
        assert randomise(network).eval()(images(1, (64, 64)))[0].shape == (1, 256, 8, 8)

    @pytest.mark.parametrize('kind', ['ResNet', 'ResNetV1c', 'ResNetV1d'])
    def test_norm_cfg_reaches_every_kind_of_resnet(self, kind):
        network = outline(self.ours | dict(backbone_cfg=RESNET18 | dict(type=kind), norm_cfg=dict(type='SyncBN')))
        assert count(network, nn.SyncBatchNorm) == count(network, _BatchNorm) > 30

    def test_cfgs_of_the_context_network_itself_win(self):
        frozen = RESNET18 | dict(norm_cfg=dict(type='BN', requires_grad=False))
        network = build(self.ours | dict(backbone_cfg=frozen, norm_cfg=dict(type='SyncBN')))
        assert type(network.context_path.backbone.bn1) is nn.BatchNorm2d
        assert not network.context_path.backbone.bn1.weight.requires_grad

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (dict(backbone_cfg=RESNET18 | dict(in_channels=1)), 'in_channels=3, but backbone_cfg.in_channels=1'),
            (dict(backbone_cfg=dict(depth=18)), 'backbone_cfg.type=None'),
            (dict(backbone_cfg=RESNET18 | dict(type='ResNat')), "backbone_cfg.type='ResNat'"),
            (dict(spatial_channels=(64, 64, 128)), r'spatial_channels=\(64, 64, 128\)'),
            (dict(context_channels=(128, 256)), r'context_channels=\(128, 256\)'),
            (dict(out_indices=(0, 3)), r'out_indices=\(0, 3\) must be from 0 to 2'),
            (dict(upsample='bicubic'), "'bicubic'"),
            (dict(fusion_gate='conv'), "fusion_gate='conv' is not known.*conv-norm-act, conv-norm, conv-act-conv"),
            (dict(fusion_reduction=4), "fusion_reduction=4 with fusion_gate='conv-norm-act'; give 1, or more for"),
            (dict(fusion_gate='conv-act-conv', fusion_reduction=0), 'fusion_reduction=0'),
            (dict(upsample='nearest', align_corners=True), 'align_corners=True'),
        ],
    )
    def test_wrong_arguments_are_named(self, change, message):
        with pytest.raises(InputError, match=message):
            build(self.ours | change)

    def test_the_fusion_gate_is_an_argument(self):
        default = build(self.ours)
        for gate, layers in (('conv-norm-act', 1), ('conv-norm', 1), ('conv-act-conv', 2)):
            network = build(self.ours | dict(fusion_gate=gate))
            assert len(network.ffm.conv_atten) == layers + 1
            changed = {key for key in network.state_dict() if key not in default.state_dict()}
            assert changed == ({'ffm.conv_atten.1.conv.weight'} if layers == 2 else set())

    def test_the_output_of_the_resnet_replaces_the_spatial_path(self):
        network = randomise(build(self.ours | dict(spatial_path=False))).eval()
        assert not [key for key in network.state_dict() if key.startswith('spatial_path.')]
        x = images(1, (95, 127))
        feature8, _, _ = network.context_path.backbone(x)[-3:]
        _, context8, context16 = network.context_path(x)
        torch.testing.assert_close(network(x), (network.ffm(feature8, context8), context8, context16))

    def test_the_fusion_reduction_is_an_argument(self):
        for gate in ('conv-act-conv', 'conv-norm-act-twice'):
            first, second, _ = build(self.ours | dict(fusion_gate=gate, fusion_reduction=4)).ffm.conv_atten
            assert (first.conv.out_channels, second.conv.in_channels, second.conv.out_channels) == (64, 64, 256)

    def test_attention_may_have_an_activation(self):
        network = randomise(build(self.ours | dict(attention_act=True))).eval()
        arm, x = network.context_path.arm16, images(2, (5, 7), channels=256)
        gate = arm.atten_conv_layer(arm.conv_layer(x))
        assert 0.5 <= gate.min() and gate.max() < 1


class TestBiSeNetV1R34(BackboneTester):
    stock = dict(type='BiSeNetV1', backbone_cfg=RESNET18 | dict(depth=34))
    ours = stock | dict(type='mmseg_bisenet.BiSeNetV1')
    norms = 36 + 13
    activations = 11


class TestBiSeNetV1R50(BackboneTester):
    stock = dict(type='BiSeNetV1', backbone_cfg=RESNET18 | dict(depth=50), **WIDE)
    ours = stock | dict(type='mmseg_bisenet.BiSeNetV1')
    norms = 53 + 13
    activations = 11


class TestBiSeNetV1R101(BackboneTester):
    stock = narrow(dict(type='BiSeNetV1', backbone_cfg=RESNET18 | dict(depth=101), **WIDE))
    ours = stock | dict(type='mmseg_bisenet.BiSeNetV1')
    norms = 104 + 13
    activations = 11


def conv() -> ConvNormAct:
    return ConvNormAct(norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU'))


def test_attention_refinement_gates_each_channel_by_its_mean():
    module = randomise(AttentionRefinementModule(conv(), 6, 4)).eval()
    x = images(2, (5, 7), channels=6)
    refined, plain = module(x), module.conv_layer(x)
    gate = torch.sigmoid(module.atten_conv_layer[1](plain.mean((2, 3), keepdim=True)))
    assert gate.shape == (2, 4, 1, 1)
    torch.testing.assert_close(refined, plain * gate)


def test_the_fusion_gate_lies_between_a_half_and_one():
    module = randomise(FeatureFusionModule(conv(), 6, 4)).eval()
    spatial, context = images(2, (5, 7), channels=4), images(2, (5, 7), channels=2)
    fused = module.conv1(torch.cat([spatial, context], 1))
    gate = module.conv_atten(module.gap(fused))
    assert 0.5 <= gate.min() and gate.max() < 1
    torch.testing.assert_close(module(spatial, context), fused * (1 + gate))


def test_coincheungs_fusion_gate_can_close():
    module = randomise(FeatureFusionModule(conv(), 6, 4, gate='conv-norm')).eval()
    spatial, context = images(2, (5, 7), channels=4), images(2, (5, 7), channels=2)
    fused = module.conv1(torch.cat([spatial, context], 1))
    norm = module.conv_atten[0]
    gate = torch.sigmoid(norm.bn(norm.conv(fused.mean((2, 3), keepdim=True))))
    assert gate.min() < 0.5
    torch.testing.assert_close(module(spatial, context), fused * (1 + gate))


def test_the_authors_fusion_gate_is_two_convolutions():
    module = randomise(FeatureFusionModule(conv(), 6, 4, gate='conv-act-conv')).eval()
    spatial, context = images(2, (5, 7), channels=4), images(2, (5, 7), channels=2)
    fused = module.conv1(torch.cat([spatial, context], 1))
    first, second = (module.conv_atten[i].conv.weight.flatten(1) for i in (0, 1))
    gate = torch.sigmoid((fused.mean((2, 3)) @ first.T).relu() @ second.T)[..., None, None]
    torch.testing.assert_close(module(spatial, context), fused * (1 + gate))
    assert {key for key in module.state_dict() if 'atten' in key} == {
        'conv_atten.0.conv.weight',
        'conv_atten.1.conv.weight',
    }
