"""Test-time augmentation against MMSegmentation's ``SegTTAModel``, with the same segmentor and the same views."""

import copy

import pytest
import torch
from base import randomise
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from models.inference.test_labels import tiny

from mmseg_bisenet import model_index
from mmseg_bisenet.cli.out import without_labels
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetTTA
from mmseg_bisenet.registry import MODELS

ORIGINAL = (90, 150)


def views(n: int, labels: bool) -> dict:
    """Three scales, plain and flipped, of ``n`` images, as from ``TestTimeAug`` and ``pseudo_collate``."""
    inputs, data_samples = [], []
    truth = [torch.randint(0, 7, (1, *ORIGINAL)) for _ in range(n)]
    for size in ((48, 80), (90, 150), (135, 225)):
        for flip in (False, True):
            meta = dict(img_shape=size, ori_shape=ORIGINAL, flip=flip, flip_direction='horizontal')
            inputs.append([torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(n)])
            data_samples.append([SegDataSample(metainfo=meta | dict(img_path=f'{i}.png')) for i in range(n)])
            for sample, label in zip(data_samples[-1], truth if labels else (), strict=False):
                sample.gt_sem_seg = PixelData(data=label)
    return dict(inputs=inputs, data_samples=data_samples)


PREPROCESSOR = dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.mark.parametrize('labels', [True, False])
@pytest.mark.parametrize('n, classes', [(1, 7), (2, 7), (1, 2)])
@torch.no_grad()
def test_equals_stock(n, classes, labels):
    segmentor = tiny(classes, data_preprocessor=PREPROCESSOR)
    data = views(n, labels)
    ours = BiSeNetTTA(segmentor).test_step(copy.deepcopy(data))
    theirs = SegTTAModel(segmentor).test_step(copy.deepcopy(data))  # `keep_logits` is already set
    for i, (want, got) in enumerate(zip(theirs, ours, strict=True)):
        assert torch.equal(got.pred_sem_seg.data, want.pred_sem_seg.data.view(1, *ORIGINAL))
        assert got.img_path == f'{i}.png'
        assert 'seg_logits' not in got
        assert ('gt_sem_seg' in got) is labels
        if labels:
            assert torch.equal(got.gt_sem_seg.data, data['data_samples'][0][i].gt_sem_seg.data)


@torch.no_grad()
def test_of_one_view_is_plain_prediction():
    segmentor = tiny(7, data_preprocessor=PREPROCESSOR)
    data = {key: value[:1] for key, value in views(2, labels=True).items()}
    plain = segmentor.test_step({key: value[0] for key, value in copy.deepcopy(data).items()})
    for want, got in zip(plain, BiSeNetTTA(segmentor).test_step(data), strict=True):
        assert torch.equal(got.pred_sem_seg.data, want.pred_sem_seg.data)


@torch.no_grad()
def test_takes_another_segmentor_later():
    first, second = (randomise(tiny(7, data_preprocessor=PREPROCESSOR), seed) for seed in (0, 1))
    data = views(1, labels=False)
    model = BiSeNetTTA(first)
    before = model.test_step(copy.deepcopy(data))[0].pred_sem_seg.data
    model.module = second
    after = model.test_step(copy.deepcopy(data))[0].pred_sem_seg.data
    assert torch.equal(after, BiSeNetTTA(second).test_step(data)[0].pred_sem_seg.data)
    assert not torch.equal(after, before)


def test_a_segmentors_own_preprocessor_stays():
    """A Runner gives the wrapper the config's ``data_preprocessor``, which may lack what the model's has."""
    cfg = Config.fromfile(model_index.find('bisenetv2_camvid').config)
    own = dict(cfg.model.data_preprocessor, mean=[1.0, 2.0, 3.0])
    cfg.model.update(data_preprocessor=own, auxiliary_head=None)
    model = MODELS.build(dict(cfg.tta_model, module=cfg.model, data_preprocessor=cfg.data_preprocessor))
    assert model.module.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    del cfg.model['data_preprocessor']
    model = MODELS.build(dict(cfg.tta_model, module=cfg.model, data_preprocessor=cfg.data_preprocessor))
    assert model.module.data_preprocessor.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])


@torch.no_grad()
def test_a_single_foreground_class_is_squashed_once():
    segmentor = tiny(2, head=dict(out_channels=1, threshold=0.5), data_preprocessor=PREPROCESSOR)
    segmentor.decode_head.conv_seg.bias.data -= segmentor(torch.randn(1, 3, 96, 160)).mean()
    data = {key: value[2:3] for key, value in views(1, labels=False).items()}
    (plain,) = segmentor.test_step({key: value[0] for key, value in copy.deepcopy(data).items()})
    assert plain.pred_sem_seg.data.unique().tolist() == [0, 1]
    (stock,) = SegTTAModel(BiSeNetTTA(segmentor).module).test_step(copy.deepcopy(data))
    assert stock.pred_sem_seg.data.unique().tolist() == [1]
    (ours,) = BiSeNetTTA(segmentor).test_step(copy.deepcopy(data))
    assert torch.equal(ours.pred_sem_seg.data, plain.pred_sem_seg.data)
    for parameter in segmentor.decode_head.conv_seg.parameters():
        parameter.zero_()
    (tie,) = BiSeNetTTA(segmentor).test_step(data)  # a probability equal to the threshold is background
    assert not tie.pred_sem_seg.data.any()


@torch.no_grad()
def test_only_one_view_is_kept(monkeypatch):
    """The logits of earlier views are freed before the next one is predicted."""
    segmentor = tiny(7, data_preprocessor=PREPROCESSOR)
    seen, predict = [], segmentor.predict

    def spy(inputs, data_samples):
        assert not any('seg_logits' in sample for sample in seen)
        seen.extend(predict(inputs, data_samples))
        return seen[-len(data_samples) :]

    monkeypatch.setattr(segmentor, 'predict', spy)
    BiSeNetTTA(segmentor).test_step(views(2, labels=False))
    assert len(seen) == 12


def test_a_mode_with_views_of_its_own_is_refused():
    with pytest.raises(InputError, match=r'model\.test_cfg\.mode=msf has its own views; test without --aug-test'):
        BiSeNetTTA(tiny(7, test_cfg=dict(mode='msf')))


@torch.no_grad()
def test_the_configs_views_without_ground_truth(configs, drawn, monkeypatch):
    """A test set without labels, read by ``tta_pipeline`` without its loading of labels."""
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    cfg = Config.fromfile(configs / 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py')
    assert cfg.tta_model.type == 'mmseg_bisenet.BiSeNetTTA'
    item = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=without_labels(cfg.tta_pipeline)))[0]
    data = {key: [[view] for view in value] for key, value in item.items()}
    (result,) = BiSeNetTTA(tiny(19, data_preprocessor=PREPROCESSOR)).test_step(data)
    assert result.pred_sem_seg.data.shape == (1, *result.ori_shape) == (1, 64, 128)
    assert 'gt_sem_seg' not in result
