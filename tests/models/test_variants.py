"""The configs of networks that MMSegmentation does not have: cost against the papers, and any image size."""

from pathlib import Path

import pytest
import torch
from base import build, randomise
from mmengine.config import Config
from models.test_segmentor import batch, read
from torch import nn

from mmseg_bisenet.models import BiSeNetHead

ROOT = Path(__file__).resolve().parents[2] / 'configs'
NEW = {
    path.stem: path
    for path in sorted(ROOT.glob('bisenet*/*.py'))
    if any(
        mark in path.stem for mark in ('x39', 'torchseg', 'coincheung', 'v2-l', 'v2-paper', 'faceparsing', 'paddleseg')
    )
}
X39 = 'bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024'
X39_SPEED = 'bisenetv1_x39-d32-speed_4xb4-ohem-140k_cityscapes-768x1536'
R18_SPEED = 'bisenetv1_r18-d32-torchseg-speed_4xb4-ohem-80k_cityscapes-768x1536'
R18_AUTHORS = 'bisenetv1_r18-d32-torchseg_4xb4-ohem-80k_cityscapes-1024x1024'
V2_PAPER = 'bisenetv2-paper_fcn_4xb4-ohem-150k_cityscapes-1024x1024'
V2_LARGE = 'bisenetv2-l_fcn_4xb4-ohem-150k_cityscapes-1024x1024'
V2 = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'


def inference_cfg(path: Path) -> dict:
    model = read(str(path), (64, 64)).model
    model.auxiliary_head = None
    return model


def giga_macs(model: dict, size: tuple[int, int] = (512, 1024)) -> float:
    """Multiply-adds of the convolutions for one image, counted on the meta device."""
    with torch.device('meta'):
        network = build(model).eval()
    total = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, out: total.append(out.numel() * layer.weight[0].numel()))
    network(torch.empty(1, 3, *size, device='meta'))
    return sum(total) / 1e9


def changed(model: dict, head: dict, **backbone) -> dict:
    return model | dict(backbone=model.backbone | backbone, decode_head=model.decode_head | head)


def test_v2_large_costs_what_the_paper_says():
    large = inference_cfg(ROOT / 'bisenetv2' / f'{V2_LARGE}.py')
    assert giga_macs(large) == pytest.approx(112.68, abs=0.01)
    assert giga_macs(large) == pytest.approx(118.5, rel=0.05)
    # V2 and its ablation of lambda in the same reading: 21.15 and 25.84.
    small = inference_cfg(ROOT / 'bisenetv2' / f'{V2_PAPER}.py')
    assert giga_macs(small) == pytest.approx(20.26, abs=0.01)
    wide = changed(small, {}, lambda_=1 / 2)
    assert giga_macs(small) == pytest.approx(21.15, rel=0.05)
    assert giga_macs(wide) - giga_macs(small) == pytest.approx(25.84 - 21.15, rel=0.08)


def test_other_readings_of_v2_large_are_further_off():
    large = inference_cfg(ROOT / 'bisenetv2' / f'{V2_LARGE}.py')
    stock = changed(large, {}, expand_first=False)
    assert giga_macs(stock) == pytest.approx(76.44, abs=0.01)
    assert giga_macs(changed(stock, dict(channels=2048))) == pytest.approx(105.67, abs=0.01)
    assert giga_macs(changed(large, dict(channels=1024))) == pytest.approx(122.42, abs=0.01)
    assert giga_macs(inference_cfg(ROOT / 'bisenetv2' / f'{V2}.py')) == pytest.approx(24.60, abs=0.01)


@pytest.mark.parametrize(('name', 'paper', 'ours'), [(X39, 2.9, 3.07), (R18_AUTHORS, 10.8, 11.58)])
def test_v1_costs_what_the_paper_says(name, paper, ours):
    cost = giga_macs(inference_cfg(ROOT / 'bisenetv1' / f'{name}.py'), (360, 640))
    assert cost == pytest.approx(ours, abs=0.01)
    assert cost == pytest.approx(paper, rel=0.08)


@pytest.mark.parametrize('size', [(95, 127), (128, 256)])
@pytest.mark.parametrize('name', NEW)
def test_one_forward(name, size):
    model = build(inference_cfg(NEW[name])).eval()
    model.test_cfg.keep_logits = True
    with torch.no_grad():
        sample = model.test_step(batch(size, 19, n=1))[0]
    assert sample.pred_sem_seg.data.shape == (1, *size)
    assert sample.seg_logits.data.shape == (19, *size)
    assert sample.seg_logits.data.isfinite().all()


def test_the_new_configs_are_these():
    assert len(NEW) == 9 + 5


@pytest.mark.parametrize('name', [X39_SPEED, R18_SPEED])
def test_speed_networks_learn_from_an_eighth_of_the_labels(name):
    cfg = Config.fromfile(NEW[name])
    assert [head.label_stride for head in (cfg.model.decode_head, *cfg.model.auxiliary_head)] == [8, 8, 8]
    assert cfg.crop_size == cfg.model.data_preprocessor.size == (768, 1536)
    (crop,) = (step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'mmseg_bisenet.RandomResizedCrop')
    assert crop.crop_size == (768, 1536)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert [step.get('scale') for step in loader.dataset.pipeline] == [None, (1536, 768), None, None]


def test_strided_labels_are_every_eighth():
    head = randomise(BiSeNetHead(4, 4, 19, label_stride=8, loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss')))
    samples = batch((64, 96), 19)['data_samples']
    logits = torch.randn(2, 19, 8, 12, generator=torch.Generator().manual_seed(0))
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in samples])[:, ::8, ::8]
    losses = head.loss_by_feat(logits, samples)
    torch.testing.assert_close(losses['loss_ohem'], head.loss_decode(logits, labels, ignore_index=255))
    head.label_stride = 1
    assert not torch.allclose(head.loss_by_feat(logits, samples)['loss_ohem'], losses['loss_ohem'])


@pytest.mark.parametrize('name', [X39_SPEED, R18_SPEED])
def test_speed_scales_are_of_the_size_that_it_trains_at(name):
    cfg = Config.fromfile(NEW[name])
    resizes = cfg.tta_pipeline[1].transforms[0]
    assert [resize.scale for resize in resizes][2] == (1536, 768) == cfg.test_pipeline[1].scale
    assert [resize.scale[0] / 1536 for resize in resizes] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
