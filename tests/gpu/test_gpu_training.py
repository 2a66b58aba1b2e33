"""Steps of training: the loss, mixed precision, SyncBN, a compiled backbone, resuming."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from base import build
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from models.test_segmentor import batch
from torch import Tensor, nn

from benchmarks import training
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.cli import main
from mmseg_bisenet.models.losses.cross_entropy import ohem_cross_entropy
from mmseg_bisenet.models.losses.pixel_cross_entropy import pixel_cross_entropy

pytestmark = pytest.mark.gpu

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
CROP = (64, 128)


@pytest.fixture
def cfg(configs) -> Config:
    cfg = Config.fromfile(configs / f'bisenetv2/{NAME}.py')
    cfg.model.data_preprocessor.size = CROP
    return cfg


@pytest.fixture
def network(cfg, device) -> nn.Module:
    """V2 without dropout, whose random numbers differ between devices."""
    network = revert_sync_batchnorm(build(cfg.model)).to(device).train()
    for head in (network.decode_head, *network.auxiliary_head):
        head.dropout = None
    return network


def loss_of(network: nn.Module, images: int = 4) -> Tensor:
    data = network.data_preprocessor(batch(CROP, network.num_classes, images), training=True)
    return network.parse_losses(network(**data, mode='loss'))[0]


def gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], share: float) -> None:
    """Up to a share of the largest value of each tensor."""
    for name, value in expected.items():
        assert (found[name].float() - value).abs().max() <= share * value.abs().max() + 1e-7, name


# -- the loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('align_corners', [False, True])
def test_the_loss_is_that_of_upsampled_logits(device, align_corners):
    logits = torch.randn(4, 19, 16, 24, device=device, requires_grad=True)
    labels = torch.randint(0, 19, (4, 128, 192), device=device)
    labels[:, :9] = 255
    upsampled = F.interpolate(logits, labels.shape[1:], mode='bilinear', align_corners=align_corners)
    expected = F.cross_entropy(upsampled, labels, ignore_index=255, reduction='none')
    losses, hits = pixel_cross_entropy(logits, labels, align_corners)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    assert (hits == (upsampled.argmax(1) == labels)).float().mean() > 0.9999
    found, wanted = (torch.autograd.grad(values.mean(), logits)[0] for values in (losses, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-8)


def kernels(images: int) -> int:
    logits = torch.randn(images, 11, 45, 60, device='cuda', requires_grad=True)
    labels = torch.randint(0, 11, (images, 360, 480), device='cuda')
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        pixel_cross_entropy(logits, labels)[0].mean().backward()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if event.self_device_time_total)


def test_kernels_do_not_grow_with_the_batch(cuda):
    kernels(2)
    assert kernels(16) < 1.1 * kernels(2)


def test_the_host_never_waits_for_the_gpu(cuda):
    logits, labels = torch.randn(2, 5, 8, 12, device='cuda'), torch.randint(0, 5, (2, 64, 96), device='cuda')
    weight = torch.ones(5, device='cuda')
    torch.cuda.set_sync_debug_mode('error')
    try:
        ohem_cross_entropy(logits.requires_grad_(), labels, class_weight=weight).backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')


# -- a step ------------------------------------------------------------------------------------------------------------


def test_loss_and_gradients_are_those_of_the_cpu(network, cfg):
    """On both in float64: norms over few pixels amplify rounding."""
    own = revert_sync_batchnorm(build(cfg.model)).train()
    own.load_state_dict(network.state_dict())
    for head in (own.decode_head, *own.auxiliary_head):
        head.dropout = None
    results = []
    for each in (network, own):
        data = each.double().data_preprocessor(batch(CROP, each.num_classes), training=True)
        loss = each.parse_losses(each(**data | dict(inputs=data['inputs'].double()), mode='loss'))[0]
        results.append((loss.cpu(), {name: value.cpu() for name, value in gradients(each, loss).items()}))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-6, atol=0)
    assert_near(results[0][1], results[1][1], 1e-6)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_a_step_in_mixed_precision(network, cfg, device, dtype):
    if (device, dtype) == ('cpu', 'float16'):
        pytest.skip('fp16 is trained on GPUs only')
    kind = dict(float16='AmpOptimWrapper', bfloat16='mmseg_bisenet.BFloat16OptimWrapper')[dtype]
    others = dict(dtype=dtype, loss_scale='dynamic') if dtype == 'float16' else {}
    optim = build_optim_wrapper(network, dict(type=kind, optimizer=cfg.optim_wrapper.optimizer, **others))
    with torch.no_grad():
        expected = loss_of(network)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(2):
        with optim.optim_context(network):
            loss = loss_of(network)
        assert loss.dtype == torch.float32
        optim.update_params(loss)
    torch.testing.assert_close(loss.detach(), expected, rtol=0.1, atol=0)
    for name, parameter in network.named_parameters():
        assert parameter.dtype == torch.float32 and parameter.isfinite().all()
        assert not torch.equal(parameter, before[name]), name


def test_a_compiled_backbone_has_the_gradients_of_an_eager_one(network, device):
    """As `train --compile`, in channels last. On a CPU the backend generates no machine code, which takes minutes."""
    network.to(memory_format=torch.channels_last)
    loss = loss_of(network)
    expected = gradients(network, loss)
    network.backbone.compile(dynamic=False, backend='inductor' if device == 'cuda' else 'aot_eager')
    again = loss_of(network)
    torch.testing.assert_close(again, loss, rtol=1e-3, atol=0)
    found = gradients(network, again)
    total, wanted = (torch.cat([value.flatten() for value in each.values()]) for each in (found, expected))
    assert (total - wanted).norm() < 0.05 * wanted.norm()


def test_sync_bn_in_one_process_is_bn(network, cuda):
    loss = loss_of(network)
    expected = gradients(network, loss)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group('nccl', store=store, rank=0, world_size=1)
    try:
        synced = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        assert any(isinstance(layer, nn.SyncBatchNorm) for layer in synced.modules())
        again = loss_of(synced)
        torch.testing.assert_close(again, loss, rtol=1e-3, atol=0)
        found = gradients(synced, again)
    finally:
        torch.distributed.destroy_process_group()
    total, wanted = (torch.cat([value.flatten() for value in each.values()]) for each in (found, expected))
    assert (total - wanted).norm() < 0.05 * wanted.norm()


def test_our_loss_takes_less_memory_than_stocks(cfg, cuda):
    model, optimizer = cfg.model.to_dict(), cfg.optim_wrapper.to_dict()
    peaks = [
        peak_bytes(
            training.prepare, training.Method(name, 'fp32'), model, optimizer, 4, (512, 512), 'cuda', device='cuda'
        )
        for name in ('ours', 'ours, stock loss')
    ]
    assert peaks[0] < peaks[1]


def test_a_resumed_training_goes_on(drawn, tmp_path, monkeypatch, device):
    """Kernels of GPUs add in any order, so weights agree up to a small part of what training changed."""
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    changes = [
        f'{kind}_dataloader.{key}' for kind in ('train', 'val') for key in ('num_workers=0', 'persistent_workers=False')
    ]
    changes += ['scale=(128,64)', 'crop_size=(64,64)', 'train_dataloader.batch_size=2', 'train_cfg.max_iters=4']
    changes += ['train_cfg.val_interval=4', 'default_hooks.checkpoint.interval=2', f'visualizer.name={tmp_path}']

    def train(*options: str) -> dict[str, Tensor]:
        assert main(['train', NAME, '--work-dir', str(tmp_path), *options, '--cfg-options', *changes]) == 0
        return weights(tmp_path / 'iter_4.pth')

    whole = train()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    (tmp_path / 'iter_4.pth').unlink()
    resumed, halfway = train('--resume'), weights(tmp_path / 'iter_2.pth')
    different = sum((resumed[name] - value).square().sum() for name, value in whole.items())
    changed = sum((halfway[name] - value).square().sum() for name, value in whole.items())
    assert 0 < changed and different <= 0.01 * changed


def weights(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, weights_only=False, map_location='cpu')['state_dict']
    return {name: value for name, value in state.items() if value.is_floating_point() and 'running' not in name}
