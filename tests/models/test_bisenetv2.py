import pytest
import torch
from base import BackboneTester, build, images, randomise

from mmseg_bisenet.errors import InputError
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

    @pytest.mark.parametrize('name', ['detail_channels', 'semantic_channels'])
    def test_wrong_widths_are_named(self, name):
        with pytest.raises(InputError, match=rf'{name}=\(64, 64\)'):
            build(self.ours | {name: (64, 64)})


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
