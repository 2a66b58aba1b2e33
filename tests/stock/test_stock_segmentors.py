"""Stock's test_encoder_decoder.py and test_seg_tta_model.py, with its one-layer network."""

import copy

import pytest
import torch
from base import build
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.optim import SGD


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x)]


class Head(BaseDecodeHead):
    def __init__(self, num_classes: int, **others) -> None:
        super().__init__(3, 3, num_classes=num_classes, **others)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        return self.cls_seg(inputs[0])


HEAD = dict(type=Head)
ONE_CHANNEL = dict(HEAD, out_channels=1, threshold=0.4, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True))
SLIDE = dict(mode='slide', crop_size=(4, 4), stride=(2, 2))


def segmentor(num_classes: int = 19, **cfg) -> nn.Module:
    parts = dict(type='mmseg_bisenet.BiSeNetSegmentor', backbone=dict(type=Backbone), decode_head=HEAD)
    return build(parts | dict(num_classes=num_classes) | cfg)


def batch(classes: int) -> dict:
    samples = []
    for _ in range(2):
        meta = dict(img_shape=(8, 16), ori_shape=(8, 16), pad_shape=(8, 16), flip=False, flip_direction='horizontal')
        samples.append(SegDataSample(metainfo=meta))
        samples[-1].gt_sem_seg = PixelData(data=torch.randint(0, classes, (1, 8, 16)))
    return dict(inputs=list(torch.rand(2, 3, 8, 16)), data_samples=samples)


@pytest.mark.parametrize(
    ('cfg', 'losses', 'channels'),
    [
        (dict(), {'decode'}, 19),
        (dict(num_classes=2, decode_head=ONE_CHANNEL), {'decode'}, 1),
        (dict(test_cfg=SLIDE), {'decode'}, 19),
        (dict(auxiliary_head=HEAD), {'decode', 'aux'}, 19),
        (dict(auxiliary_head=[HEAD, HEAD]), {'decode', 'aux_0', 'aux_1'}, 19),
    ],
    ids=['one head', 'one channel', 'slide', 'one booster', 'two boosters'],
)
def test_encoder_decoder(cfg, losses, channels):
    network = segmentor(**cfg)
    network.data_preprocessor = SegDataPreProcessor(size=(8, 16))
    data = network.data_preprocessor(batch(network.num_classes), True)
    given = network(**data, mode='loss')
    assert {key.split('.')[0] for key in given} == losses
    before = network.backbone.conv.weight.clone()
    logged = network.train_step(batch(network.num_classes), OptimWrapper(SGD(network.parameters(), lr=0.1)))
    assert logged['loss'].isfinite()
    assert not torch.equal(network.backbone.conv.weight, before)
    network.eval()
    with torch.no_grad():
        assert network(**data, mode='tensor').shape == (2, channels, 6, 14)
        for results in (network.val_step(batch(network.num_classes)), network.predict(**data)):
            assert [tuple(sample.pred_sem_seg.data.shape) for sample in results] == [(1, 8, 16)] * 2
        assert len(network.predict(data['inputs'])) == 2


def test_a_prediction_is_cut_and_flipped_back():
    network = segmentor().eval()
    network.test_cfg['keep_logits'] = True
    image = torch.rand(1, 3, 12, 20)
    meta = dict(img_shape=(12, 20), ori_shape=(8, 14), padding_size=[2, 4, 1, 3], flip=True)
    with torch.no_grad():
        logits = network.encode_decode(image, [dict(img_shape=(12, 20))])
        for direction, axis in (('horizontal', 3), ('vertical', 2)):
            sample = SegDataSample(metainfo=dict(meta, flip_direction=direction))
            (result,) = network.predict(image, [sample])
            expected = logits[:, :, 1:9, 2:16].flip(axis)
            torch.testing.assert_close(result.seg_logits.data, expected[0])
            assert torch.equal(result.pred_sem_seg.data, expected.argmax(1))


def views() -> dict:
    inputs, samples = [], []
    for i in range(12):
        direction = 'horizontal' if i % 3 == 0 else 'vertical'
        meta = dict(ori_shape=(10, 10), img_shape=(10 + i, 10 + i), flip=i % 2 == 0, flip_direction=direction)
        inputs.append(torch.randn(1, 3, 10 + i, 10 + i))
        samples.append([SegDataSample(metainfo=meta | dict(img_path='a.png'))])
    return dict(inputs=inputs, data_samples=samples)


@torch.no_grad()
def test_tta_of_twelve_views_and_of_another_segmentor():
    data = views()
    model = build(dict(type='mmseg_bisenet.BiSeNetTTA', module=segmentor())).eval()
    one_channel = segmentor(num_classes=2, decode_head=ONE_CHANNEL).eval()
    for module, classes in ((model.module, 19), (one_channel, 2)):
        model.module = module
        (result,) = model.test_step(copy.deepcopy(data))
        labels = result.pred_sem_seg.data
        assert labels.shape == (1, 10, 10)
        assert labels.max() < classes
        if classes == 19:  # of one channel, stock takes the sigmoid twice
            (stock,) = SegTTAModel(module).test_step(copy.deepcopy(data))
            assert torch.equal(labels, stock.pred_sem_seg.data.view(1, 10, 10))
