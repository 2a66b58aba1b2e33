"""Whole segmentors against the stock ones: same weights, same batch, same losses, gradients and labels."""

import copy

import numpy as np
import pytest
import torch
from base import build, narrow, randomise, replace_sync_bn, twins
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_bisenet.errors import InputError

CONFIGS = {
    'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024': 'bisenetv1',
    'bisenetv1_r50-d32_4xb4-160k_cityscapes-1024x1024': 'bisenetv1',
    'bisenetv1_r101-d32_4xb4-160k_coco-stuff164k-512x512': 'bisenetv1',
    'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024': 'bisenetv2',
}


def read(path: str, crop: tuple[int, int]) -> Config:
    """A config for a CPU and a small crop."""
    cfg = Config.fromfile(path)
    replace_sync_bn(cfg.model)
    cfg.model.data_preprocessor.size = crop
    return cfg


def batch(size: tuple[int, int], classes: int, n: int = 2) -> dict:
    """uint8 BGR images and labels as the data pipeline packs them."""
    rng = np.random.RandomState(0)
    samples = []
    for _ in range(n):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, flip=False))
        labels = rng.randint(0, classes, (1, *size))
        labels[:, :4] = 255
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels))
        samples.append(sample)
    return dict(
        inputs=[torch.from_numpy(rng.randint(0, 256, (3, *size), dtype=np.uint8)) for _ in samples],
        data_samples=samples,
    )


@pytest.fixture(params=CONFIGS)
def segmentors(request, stock_configs, configs) -> tuple[nn.Module, nn.Module, int]:
    path = f'{CONFIGS[request.param]}/{request.param}.py'
    stock_cfg, our_cfg = (read(str(root / path), (64, 96)).model for root in (stock_configs, configs))
    if 'r18' not in request.param and 'v1' in request.param:  # tests/models/test_bisenetv1.py has the real widths
        for cfg in (stock_cfg, our_cfg):
            cfg.backbone = narrow(cfg.backbone)
            cfg.decode_head.in_channels = cfg.backbone.out_channels
            for head in cfg.auxiliary_head:
                head.in_channels = cfg.backbone.context_channels[0]
    stock, ours = twins(stock_cfg, our_cfg)
    for segmentor, cfg in ((stock, stock_cfg), (ours, our_cfg)):
        segmentor.data_preprocessor = build(cfg.data_preprocessor)  # its values are in no state dict
    return stock, ours, stock.num_classes


def test_losses_and_gradients_equal_stock(segmentors):
    *networks, classes = segmentors
    results = []
    for network in networks:
        torch.manual_seed(0)  # dropout in the heads
        data = network.train().double().data_preprocessor(batch((64, 96), classes), training=True)
        losses = network(**data | dict(inputs=data['inputs'].double()), mode='loss')
        network.parse_losses(losses)[0].backward()
        results.append((losses, {name: parameter.grad for name, parameter in network.named_parameters()}))
    (expected, expected_gradients), (losses, gradients) = results
    assert losses.keys() == expected.keys()
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)  # `acc_seg` is float32
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize('size', [(64, 96), (95, 127)])
@pytest.mark.parametrize('n', [1, 2])
def test_predictions_equal_stock(segmentors, size, n):
    *networks, classes = segmentors
    networks[1].test_cfg.keep_logits = True
    with torch.no_grad():
        expected, actual = (network.eval().test_step(batch(size, classes, n)) for network in networks)
    for theirs, ours in zip(expected, actual, strict=True):
        torch.testing.assert_close(ours.seg_logits.data, theirs.seg_logits.data, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)
        assert ours.pred_sem_seg.data.shape == (1, *size)


@pytest.fixture(scope='module')
def cfg(configs) -> dict:
    return read(str(configs / 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'), (64, 64)).model


def changed(cfg: dict, **changes) -> dict:
    return copy.deepcopy(cfg) | changes


def test_one_knob_reaches_every_head(cfg):
    segmentor = build(changed(cfg, num_classes=7))
    heads = [segmentor.decode_head, *segmentor.auxiliary_head]
    assert [head.conv_seg.out_channels for head in heads] == [7] * 5
    assert segmentor.num_classes == 7


def test_a_single_booster_need_not_be_a_list(cfg):
    segmentor = build(changed(cfg, auxiliary_head=cfg.auxiliary_head[0], num_classes=7))
    assert segmentor.auxiliary_head.num_classes == 7  # not in a list, so that its keys are those of stock
    segmentor = build(changed(cfg, auxiliary_head=tuple(cfg.auxiliary_head[:2]), num_classes=7))
    assert [head.num_classes for head in segmentor.auxiliary_head] == [7, 7]


def test_missing_and_contradicting_num_classes_are_named(cfg):
    without = copy.deepcopy(cfg)
    del without['num_classes']
    with pytest.raises(InputError, match=r'model\.num_classes is missing; set it'):
        build(without)
    with pytest.raises(InputError, match=r'model\.decode_head\.num_classes=5 contradicts model\.num_classes=19'):
        build(changed(cfg, decode_head=cfg.decode_head | dict(num_classes=5)))


def test_boosters_are_gone_in_inference(cfg):
    trained = randomise(build(cfg)).eval()
    called = []
    for head in trained.auxiliary_head:
        head.register_forward_hook(lambda *_: called.append(1))
    data = batch((64, 64), 19)
    with torch.no_grad():
        expected = trained.test_step(copy.deepcopy(data))
    assert not called

    lean = build(changed(cfg, auxiliary_head=None)).eval()
    lean.load_state_dict(trained.state_dict(), strict=True)  # a training checkpoint fits
    assert not any('auxiliary' in key for key in lean.state_dict())
    for want, got in zip(expected, lean.test_step(data), strict=True):
        torch.testing.assert_close(got.pred_sem_seg.data, want.pred_sem_seg.data)


@pytest.mark.parametrize('step', ['val', 'test'])
def test_a_batch_of_several_sizes_names_two(cfg, step):
    segmentor = build(changed(cfg, auxiliary_head=None)).eval()
    data = batch((64, 96), 19, 2)
    for sample, name in zip(data['data_samples'], 'ab', strict=True):
        sample.set_metainfo(dict(img_path=f'{name}.png'))
    data['inputs'][1] = data['inputs'][1][:, :, :90]
    text = rf'^a\.png is 96x64 and b\.png is 90x64 \(width x height\) .* set {step}_dataloader\.batch_size=1, or resize'
    for _ in range(2):
        with pytest.raises(InputError, match=text):
            getattr(segmentor, f'{step}_step')(data)
        segmentor.switch_to_deploy()  # it replaces the data preprocessor


def test_a_training_batch_of_several_sizes(cfg):
    segmentor = build(changed(cfg, data_preprocessor=cfg.data_preprocessor | dict(size=(32, 32))))
    data = batch((64, 96), 19, 2)
    for sample, name in zip(data['data_samples'], 'ab', strict=True):
        sample.set_metainfo(dict(img_path=f'{name}.png'))
    data['inputs'][1] = data['inputs'][1][:, :, :90]
    text = r'^a\.png is 96x64 and b\.png is 90x64 .* set model\.data_preprocessor\.size to crop_size$'
    with pytest.raises(InputError, match=text):
        segmentor.train_step(data, None)


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(concat_input=True), 'BiSeNetHead has no concat_input; remove it, or take FCNHead'),
        (
            dict(input_transform='multiple_select', in_index=[0, 1], in_channels=[8, 8]),
            'BiSeNetHead reads one map; set',
        ),
        (dict(sampler=dict(type='OHEMPixelSampler')), 'BiSeNetHead.sampler: the losses of mmseg_bisenet take no samp'),
    ],
)
def test_what_the_head_does_not_do(cfg, options, text):
    with pytest.raises(InputError, match=f'^{text}'):
        build(changed(cfg, decode_head=cfg.decode_head | options))
    with pytest.raises(InputError, match=r'^BiSeNetSegmentor: model\.decode_head is a list; give one head, a dict$'):
        build(changed(cfg, decode_head=[cfg.decode_head]))


def test_a_label_that_is_no_class_and_not_ignored(cfg):
    segmentor = build(changed(cfg, decode_head=cfg.decode_head | dict(ignore_index=3))).train()
    data = segmentor.data_preprocessor(batch((64, 64), 19), training=True)
    for sample in data['data_samples']:
        sample.gt_sem_seg.data[:] = 255
    with pytest.raises(InputError, match=r'^ignore_index of a head: a label is neither below 19, .* nor 3; set it to'):
        segmentor(**data, mode='loss')


def test_a_key_that_is_no_booster_is_still_refused(cfg):
    lean = build(changed(cfg, auxiliary_head=None))
    with pytest.raises(RuntimeError, match='auxiliary_neck'):
        lean.load_state_dict(lean.state_dict() | {'auxiliary_neck.weight': torch.zeros(1)})


def test_channels_last_gives_the_same(configs):
    cfg = read(str(configs / 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'), (64, 96)).model
    cfg.test_cfg.keep_logits = True
    plain, last = build(cfg), build(dict(cfg, channels_last=True))
    randomise(plain)
    last.load_state_dict(plain.state_dict())
    with torch.no_grad():
        maps = last.eval().extract_feat(torch.rand(2, 3, 64, 96))
        assert all(x.is_contiguous(memory_format=torch.channels_last) for x in maps)
        expected, actual = (network.eval().test_step(batch((64, 96), 19, 2)) for network in (plain, last))
    for theirs, ours in zip(expected, actual, strict=True):
        torch.testing.assert_close(ours.seg_logits.data, theirs.seg_logits.data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('deployed', [False, True])
def test_labels_resized_by_nearest_neighbour(cfg, deployed):
    """The labels of the small image, each pixel repeated, also behind padding and a flip."""
    network = randomise(build(changed(cfg, auxiliary_head=None))).eval()
    if deployed:
        network.switch_to_deploy()
    data = batch((64, 96), 19, 1)
    (small,) = network.test_step(copy.deepcopy(data))
    network.test_cfg.nearest_labels = True
    data['data_samples'][0].set_metainfo(dict(ori_shape=(192, 192)))
    (large,) = network.test_step(copy.deepcopy(data))
    expected = small.pred_sem_seg.data.repeat_interleave(3, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(large.pred_sem_seg.data, expected)
    data['data_samples'][0].set_metainfo(
        dict(padding_size=(0, 16, 0, 32), ori_shape=(64, 160), flip=True, flip_direction='horizontal')
    )
    (cut,) = network.test_step(data)
    inner = small.pred_sem_seg.data[:, :32, :80].flip(2)
    torch.testing.assert_close(cut.pred_sem_seg.data, inner.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_a_train_cfg_that_nothing_reads(configs):
    cfg = Config.fromfile(configs / 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py').model
    cfg.train_cfg = dict(sampler=None)
    with torch.device('meta'), pytest.raises(InputError) as caught:
        build(cfg)
    assert str(caught.value) == 'BiSeNetSegmentor: nothing reads model.train_cfg (sampler); remove it'
