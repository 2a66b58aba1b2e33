import pytest
import torch
from base import BackboneTester, build, images, randomise

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetV2
from mmseg_bisenet.models.bisenetv2.semantic_branch import CEBlock, GELayer
from mmseg_bisenet.models.conv import ConvNormAct


class TestBiSeNetV2(BackboneTester):
    stock = dict(type='BiSeNetV2')
    ours = dict(type='mmseg_bisenet.BiSeNetV2')
    norms = 8 + 4 + 9 + 9 + 15 + 3 + 5  # detail, stem, three stages, CE, BGA
    activations = 8 + 4 + 6 + 6 + 12 + 2 + 1

    def test_branches_of_other_widths(self):
        network = build(
            self.ours | dict(detail_channels=(8, 8, 24), semantic_channels=(8, 16, 24, 40), bga_channels=32)
        )
        shapes = [tuple(out.shape[1:]) for out in randomise(network).eval()(images(1, (64, 128)))]
        assert shapes == [(32, 8, 16), (8, 16, 32), (16, 8, 16), (24, 4, 8), (40, 2, 4)]

    def test_align_corners_reaches_the_aggregation(self):
        plain, corners = build(self.ours), build(self.ours | dict(align_corners=True))
        corners.load_state_dict(randomise(plain).state_dict())
        stock = build(self.stock | dict(align_corners=True))
        stock.load_state_dict(plain.state_dict())
        x = images(1, (64, 96))
        torch.testing.assert_close(corners.eval()(x), stock.eval()(x))
        assert not torch.allclose(corners(x)[0], plain.eval()(x)[0])

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (dict(detail_channels=(64, 64)), r'detail_channels=\(64, 64\)'),
            (dict(semantic_channels=(64, 64)), r'semantic_channels=\(64, 64\)'),
            (dict(semantic_channels=(16, 32, 64, 128), lambda_=0.5), r'semantic_channels=.*and lambda_=0\.5'),
            (dict(depth=0), 'depth=0'),
            (dict(out_indices=(5,)), r'out_indices=\(5,\) must be from 0 to 4'),
            (dict(upsample='bicubic'), "'bicubic'"),
            (dict(upsample='nearest', align_corners=True), 'align_corners=True'),
        ],
    )
    def test_wrong_arguments_are_named(self, change, message):
        with pytest.raises(InputError, match=message):
            build(self.ours | change)

    def test_alpha_widens_every_layer(self):
        network = randomise(build(self.ours | dict(alpha=0.5))).eval()
        assert [out.shape[1] for out in network(images(1, (64, 64)))] == [64, 8, 16, 32, 64]
        halved = build(
            self.ours | dict(detail_channels=(32, 32, 64), semantic_channels=(8, 16, 32, 64), bga_channels=64)
        )
        halved.load_state_dict(network.state_dict(), strict=True)

    def test_lambda_sets_the_first_two_widths(self):
        network = build(self.ours | dict(lambda_=1 / 2))
        spelled = build(self.ours | dict(semantic_channels=(32, 64, 64, 128)))
        spelled.load_state_dict(network.state_dict(), strict=True)
        assert build(self.ours | dict(lambda_=1 / 4)).state_dict().keys() == build(self.ours).state_dict().keys()

    def test_depth_repeats_the_gather_and_expansion_layers(self):
        network, default = build(self.ours | dict(depth=3)), build(self.ours)
        stages = ('stage2', 'stage3', 'stage4')
        assert [len(getattr(default.semantic, stage)) for stage in stages] == [2, 2, 4]
        assert [len(getattr(network.semantic, stage)) for stage in stages] == [6, 6, 12]
        assert network.detail.state_dict().keys() == default.detail.state_dict().keys()

    def test_nearest_upsampling_reaches_the_aggregation(self):
        network, nearest = randomise(build(self.ours)).eval(), build(self.ours | dict(upsample='nearest')).eval()
        nearest.load_state_dict(network.state_dict())
        x = images(1, (64, 96))
        bga, detail, context = nearest.bga, nearest.detail(x), nearest.semantic(x)[-1]

        def up(feature):
            return feature.repeat_interleave(4, 2).repeat_interleave(4, 3)

        fine = bga.detail_dwconv(detail) * up(bga.semantic_conv(context)).sigmoid()
        coarse = bga.detail_down(detail) * bga.semantic_dwconv(context).sigmoid()
        torch.testing.assert_close(nearest(x)[0], bga.conv(fine + up(coarse)))
        assert not torch.allclose(nearest(x)[0], network(x)[0])

    def test_pointwise_convolutions_without_bias(self):
        network, bare = randomise(build(self.ours)).eval(), build(self.ours | dict(pointwise_bias=False)).eval()
        biases = [f'bga.{branch}_dwconv.0.pointwise_conv.conv.bias' for branch in ('detail', 'semantic')]
        assert network.state_dict().keys() - bare.state_dict().keys() == set(biases)
        weights = network.state_dict()
        for key in biases:
            weights[key].zero_()
        bare.load_state_dict({key: value for key, value in weights.items() if key not in biases}, strict=True)
        x = images(1, (64, 96))
        torch.testing.assert_close(bare(x), network(x))


def conv() -> ConvNormAct:
    return ConvNormAct(norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU'))


def test_gather_and_expansion_of_stride_one_is_a_residual():
    layer = randomise(GELayer(conv(), 8, 8, expansion=6)).eval()
    torch.nn.init.zeros_(layer.conv2[0].bn.weight)
    torch.nn.init.zeros_(layer.conv2[0].bn.bias)
    x = images(2, (6, 9), channels=8)
    torch.testing.assert_close(layer(x), x.relu())


def test_context_embedding_adds_the_same_vector_everywhere():
    block = randomise(CEBlock(conv(), 8)).eval()
    x = images(2, (6, 9), channels=8)
    pooled = block.conv_gap(block.gap[1](x.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(block(x), block.conv_last(x + pooled.expand_as(x)))


def test_context_embedding_of_the_paper_ends_in_a_plain_convolution():
    block = randomise(CEBlock(conv(), 8, norm=False)).eval()
    x = images(2, (6, 9), channels=8)
    pooled = block.conv_gap(block.gap[1](x.mean((2, 3), keepdim=True)))
    last = block.conv_last.conv
    torch.testing.assert_close(block(x), torch.nn.functional.conv2d(x + pooled, last.weight, last.bias, padding=1))
    assert block(x).min() < 0


@pytest.mark.parametrize('stride', [1, 2])
def test_gather_and_expansion_of_the_paper_expands_first(stride):
    layer = randomise(GELayer(conv(), 8, 8, expansion=6, stride=stride, expand_first=True)).eval()
    assert layer.conv1.conv.weight.shape == (48, 8, 3, 3)
    assert [part.conv.weight.shape for part in layer.dwconv] == [(48, 1, 3, 3)] * stride
    assert [part.with_activation for part in layer.dwconv] == [False, True][-stride:]
    x = images(2, (6, 9), channels=8)
    assert layer(x).shape == (2, 8, -(-6 // stride), -(-9 // stride))


def test_gather_and_expansion_layers_may_start_as_their_shortcuts():
    network = BiSeNetV2(zero_init_last_norm=True).eval()
    network.init_weights()
    for layer in (layer for layer in network.modules() if isinstance(layer, GELayer)):
        x = torch.rand(1, layer.conv1.in_channels, 8, 8)
        assert torch.equal(layer(x), layer.shortcut(x).relu())
    plain = BiSeNetV2()
    plain.init_weights()
    assert all(layer.conv2[0].bn.weight.eq(1).all() for layer in plain.modules() if isinstance(layer, GELayer))
