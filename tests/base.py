"""The base class of the backbones' tests; a subclass gives the stock counterpart and the numbers of layers."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bisenet.errors import InputError

SIZES = [(64, 96), (95, 127)]


def build(cfg: dict) -> nn.Module:
    init_default_scope('mmseg')
    return MODELS.build(copy.deepcopy(cfg))


def replace_sync_bn(node: object, norm_cfg: dict = dict(type='BN')) -> None:
    """Give another norm to every layer of a tree of cfgs that has SyncBN, which is for GPUs."""
    if isinstance(node, dict) and node.get('type') == 'SyncBN':
        node.clear()
        node.update(norm_cfg)
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        replace_sync_bn(item, norm_cfg)


def assert_nearly_same_labels(labels: np.ndarray, expected: np.ndarray, name: str = 'labels') -> None:
    """One pixel in a thousand may differ: the last bits, which decide between equal logits, depend on the CPU."""
    assert labels.shape == expected.shape, name
    assert np.mean(labels != expected) <= 0.001, name


def narrow(backbone: dict) -> dict:
    """BiSeNet V1 with a quarter of its width, for tests that do not depend on it."""
    default = dict(spatial_channels=(64, 64, 64, 128), context_channels=(128, 256, 512), out_channels=256)

    def quarter(widths: int | tuple[int, ...]) -> int | tuple[int, ...]:
        return tuple(width // 4 for width in widths) if isinstance(widths, tuple) else widths // 4

    widths = {name: quarter(backbone.get(name, value)) for name, value in default.items()}
    return backbone | widths | dict(backbone_cfg=backbone['backbone_cfg'] | dict(base_channels=16, stem_channels=16))


def outline(cfg: dict) -> nn.Module:
    """The module without values for its weights, for tests of its structure: they need not be drawn."""
    with torch.device('meta'):
        return build(cfg)


def randomised(cfg: dict) -> nn.Module:
    """As ``randomise(build(cfg))``, without drawing the weights twice."""
    module = outline(cfg).to_empty(device='cpu')
    for value in module.state_dict().values():
        value.zero_()
    return randomise(module)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Set random weights, biases and running statistics, so that no layer is an identity or zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                if value.ndim > 1:
                    value.copy_(noise * value[0].numel() ** -0.5)
                elif name.endswith('running_var'):
                    value.copy_((0.1 * noise).exp())
                else:
                    value.copy_(0.1 * noise + float(name.endswith('weight')))
    return module


def images(batch: int, size: tuple[int, int], channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def count(module: nn.Module, kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in module.modules())


def twins(stock_cfg: dict, our_cfg: dict) -> tuple[nn.Module, nn.Module]:
    """The stock network and ours, with the same weights."""
    stock, ours = randomised(stock_cfg), outline(our_cfg)
    ours.load_state_dict(copy.deepcopy(stock.state_dict()), strict=True, assign=True)
    return stock, ours


def outputs_and_gradients(backbone: nn.Module, x: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """All outputs, and the gradients of their sum, weighted with fixed random factors."""
    outputs = backbone(x)
    generator = torch.Generator().manual_seed(2)
    sum((out * torch.randn(out.shape, generator=generator)).mean() for out in outputs).backward()
    return outputs, {name: parameter.grad for name, parameter in backbone.named_parameters()}


class BackboneTester:
    """Subclasses set both cfgs, the number of norms, and the number of activations that ``act_cfg`` sets."""

    stock: dict
    ours: dict
    norms: int
    activations: int

    def test_has_the_keys_and_shapes_of_stock(self):
        stock, ours = outline(self.stock).state_dict(), outline(self.ours).state_dict()
        assert [(key, value.shape) for key, value in sorted(stock.items())] == [
            (key, value.shape) for key, value in sorted(ours.items())
        ]

    @pytest.mark.parametrize('size', SIZES)
    @pytest.mark.parametrize('batch', [1, 2])
    def test_equals_stock_in_eval_mode(self, size, batch):
        stock, ours = twins(self.stock, self.ours)
        x = images(batch, size)
        expected, expected_gradients = outputs_and_gradients(stock.eval(), x)
        actual, gradients = outputs_and_gradients(ours.eval(), x)
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize('size', SIZES)
    def test_equals_stock_in_train_mode(self, size):
        stock, ours = twins(self.stock, self.ours)
        x = images(2, size)
        expected, expected_gradients = outputs_and_gradients(stock.train(), x)
        actual, gradients = outputs_and_gradients(ours.train(), x)
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours.state_dict(), stock.state_dict())  # equal running statistics

    def test_norm_cfg_reaches_every_layer(self):
        network = outline(self.ours | dict(norm_cfg=dict(type='SyncBN', requires_grad=True)))
        assert count(network, nn.SyncBatchNorm) == count(network, _BatchNorm) == self.norms
        network = outline(self.ours | dict(norm_cfg=dict(type='GN', num_groups=4)))
        assert count(network, nn.GroupNorm) == self.norms
        assert count(network, _BatchNorm) == 0

    def test_act_cfg_reaches_every_layer(self):
        network = outline(self.ours | dict(act_cfg=dict(type='LeakyReLU', negative_slope=0.2)))
        assert count(network, nn.LeakyReLU) == self.activations
        others = count(network, nn.ReLU)
        assert others == count(outline(self.ours), nn.ReLU) - self.activations

    def test_conv_cfg_reaches_every_layer(self):
        from mmcv.cnn.bricks.conv_ws import ConvWS2d

        network = outline(self.ours | dict(conv_cfg=dict(type='ConvWS')))
        plain = [name for name, layer in network.named_modules() if type(layer) is nn.Conv2d]
        assert plain == []
        assert count(network, ConvWS2d) == count(outline(self.ours), nn.Conv2d)

    def test_out_indices_choose_and_order_the_outputs(self):
        network = randomised(self.ours).eval()
        x = images(1, (64, 64))
        everything = network(x)
        network.out_indices = (2, 0)
        torch.testing.assert_close(network(x), (everything[2], everything[0]))

    def test_a_batch_of_one_is_refused_in_training_only(self):
        network = randomised(self.ours)
        with pytest.raises(InputError, match=r'\(1, 3, 64, 64\).*model.eval\(\) to predict; .*dataloader.batch_size'):
            network.train()(images(1, (64, 64)))
        network.eval()(images(1, (64, 64)))
        build(self.ours | dict(norm_cfg=dict(type='GN', num_groups=4))).train()(images(1, (64, 64)))

    def test_images_of_other_channels(self):
        network = randomised(self.ours | dict(in_channels=4)).eval()
        assert network(images(1, (64, 64), channels=4))[0].shape[2:] == (8, 8)
