"""Labels against those of MMSegmentation's own ``predict``, run on the same network: equal to the last bit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from base import build, randomise
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_bisenet.models.inference import labels


class Eighth(nn.Conv2d):
    """A minimal backbone: (N, 3, H, W) -> one map at 1/8; sizes round up."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__(3, channels, 9, stride=8, padding=4)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (super().forward(x),)


def tiny(classes: int, **options) -> nn.Module:
    """A minimal segmentor with many near ties between classes."""
    head = dict(
        type='mmseg_bisenet.BiSeNetHead', in_channels=8, channels=8, align_corners=options.pop('aligned', False)
    )
    head.update(options.pop('head', {}))
    cfg = dict(
        type='mmseg_bisenet.BiSeNetSegmentor',
        num_classes=classes,
        backbone=dict(type='mmseg_bisenet.BiSeNetV2', detail_channels=(8, 8, 8), bga_channels=8),
        decode_head=head,
        **options,
    )
    segmentor = build(cfg)
    segmentor.backbone = Eighth()
    return randomise(segmentor).eval()


@torch.no_grad()
def both(segmentor: nn.Module, x: Tensor, samples: list | None = None) -> tuple[list, list]:
    """Predictions of stock's ``predict``, and ours."""
    theirs = EncoderDecoder.predict(segmentor, x, copy.deepcopy(samples))
    return theirs, segmentor.predict(x, copy.deepcopy(samples))


def assert_same(theirs: list, ours: list, logits: bool = False) -> None:
    for want, got in zip(theirs, ours, strict=True):
        assert got.pred_sem_seg.data.dtype == want.pred_sem_seg.data.dtype
        assert torch.equal(got.pred_sem_seg.data, want.pred_sem_seg.data)
        assert ('seg_logits' in got) is logits
        if logits:
            assert got.seg_logits.data.dtype == want.seg_logits.data.dtype
            assert torch.equal(got.seg_logits.data, want.seg_logits.data)


def samples(n: int, size: tuple[int, int], **meta) -> list[SegDataSample]:
    return [SegDataSample(metainfo=dict(img_shape=size, ori_shape=size) | meta) for _ in range(n)]


@pytest.fixture(params=[1, 2])
def threads(request):
    """PyTorch has different kernels for one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


SIZES = [(64, 64), (40, 88), (40, 89), (96, 160), (128, 8), (127, 203), (256, 128)]


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('classes', [2, 3, 4, 19, 33])
def test_every_size_alone_and_in_a_batch(threads, classes, aligned):
    segmentor = tiny(classes, aligned=aligned)
    for size in SIZES:
        for n in (1, 2):
            x = torch.randn(n, 3, *size)
            assert_same(*both(segmentor, x))
            for original in (size, (200, 300), (70, 90), (20, 30)):
                assert_same(*both(segmentor, x, samples(n, size, ori_shape=original)))


@pytest.mark.parametrize('meta', [{}, dict(ori_shape=(170, 210))])
@pytest.mark.parametrize('flip', [None, 'horizontal', 'vertical'])
@pytest.mark.parametrize('key', ['padding_size', 'img_padding_size'])
def test_padding_and_flips(threads, key, flip, meta):
    options = {key: (3, 13, 2, 11)}  # left, right, top, bottom
    inner = (128 - 13, 160 - 16)
    options |= dict(img_shape=inner, ori_shape=inner, pad_shape=(128, 160), flip=bool(flip), flip_direction=flip) | meta
    assert_same(*both(tiny(7), torch.randn(2, 3, 128, 160), samples(2, (128, 160), **options)))


@pytest.mark.parametrize('crop, stride', [((96, 128), (64, 85)), ((48, 64), (48, 64)), ((200, 80), (70, 33))])
@pytest.mark.parametrize('original', [(131, 210), (300, 200)])
@pytest.mark.parametrize('classes', [3, 7])
def test_sliding_windows(threads, crop, stride, original, classes):
    segmentor = tiny(classes, test_cfg=dict(mode='slide', crop_size=crop, stride=stride))
    assert_same(*both(segmentor, torch.randn(2, 3, 131, 210), samples(2, (131, 210), ori_shape=original)))


@pytest.mark.parametrize('classes, size', [(3, (96, 160)), (7, (96, 160)), (7, (32, 32))])
@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_logits_are_kept_where_asked(threads, mode, classes, size):
    cfg = dict(mode=mode, crop_size=(64, 96), stride=(40, 50), keep_logits=True)
    segmentor = tiny(classes, test_cfg=cfg)
    original = samples(2, size, ori_shape=(150, 170), flip=True, flip_direction='horizontal')
    for given in (None, original):
        assert_same(*both(segmentor, torch.randn(2, 3, *size), given), logits=True)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_mixed_precision(mode, dtype):
    cfg = dict(mode=mode, crop_size=(64, 96), stride=(40, 50))
    segmentor = tiny(7, test_cfg=cfg)  # many near ties
    x = torch.randn(2, 3, 96, 160)
    with torch.autocast('cpu', dtype):
        assert_same(*both(segmentor, x, samples(2, (96, 160), ori_shape=(150, 170))))
        segmentor.test_cfg.keep_logits = True
        assert_same(*both(segmentor, x), logits=True)


@pytest.mark.parametrize('crop', [(64, 96), (96, 160)])
def test_windows_of_half_precision_add_up_as_stocks(crop):
    """16-bit logits, as from autocast on a GPU; stock copies even a single window into 32-bit logits."""
    segmentor = tiny(7, test_cfg=dict(mode='slide', crop_size=crop, stride=(40, 50)))
    cls_seg = segmentor.decode_head.cls_seg
    segmentor.decode_head.cls_seg = lambda x: cls_seg(x).bfloat16()
    x = torch.randn(2, 3, 96, 160)
    assert_same(*both(segmentor, x, samples(2, (96, 160), ori_shape=(150, 170))))
    segmentor.test_cfg.keep_logits = True
    assert_same(*both(segmentor, x, samples(2, (96, 160), ori_shape=(150, 170))), logits=True)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('classes', [2, 4, 19])
@torch.no_grad()
def test_channels_last(threads, classes, dtype):
    """Labels equal those of the same logits in contiguous memory."""
    segmentor = tiny(classes, channels_last=True)
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = segmentor(x)
            assert logits.dtype == dtype and logits.is_contiguous(memory_format=torch.channels_last)
            full = F.interpolate(logits.contiguous(), size, mode='bilinear')
            for original in (size, (200, 300), (20, 30)):
                expected = F.interpolate(full, original, mode='bilinear').argmax(1, keepdim=True)
                found = segmentor.predict(x, samples(2, size, ori_shape=original))
                assert torch.equal(torch.stack([sample.pred_sem_seg.data for sample in found]), expected)


def test_ties_and_numbers_that_are_not_finite():
    segmentor = tiny(5)
    for bias in (
        [0, 0, 0, 0, 0],
        [-1, 0, 0, -1, 0],
        [0, float('nan'), 5, 0, 0],
        [0, -float('inf'), 3, float('inf'), 3],
    ):
        with torch.no_grad():
            segmentor.decode_head.conv_seg.weight.zero_()
            segmentor.decode_head.conv_seg.bias.copy_(torch.tensor(bias))
        assert_same(*both(segmentor, torch.randn(1, 3, 96, 160)))


def test_a_single_foreground_class_and_other_heads_use_stocks_code(monkeypatch):
    binary = tiny(2, head=dict(out_channels=1, threshold=0.5))
    binary.decode_head.conv_seg.bias.data -= binary(torch.randn(1, 3, 96, 160)).mean()
    theirs, ours = both(binary, torch.randn(2, 3, 96, 160))
    assert_same(theirs, ours)
    assert theirs[0].pred_sem_seg.data.unique().tolist() == [0, 1]
    other = tiny(7)
    monkeypatch.setattr(type(other.decode_head), 'predict_by_feat', lambda self, logits, metas: -logits)
    assert_same(*both(other, torch.randn(1, 3, 96, 160)))


def test_a_size_that_is_not_the_inputs_uses_stocks_code():
    meta = dict(img_shape=(80, 150), ori_shape=(80, 150))  # stock upsamples to img_shape, padding or not
    assert_same(*both(tiny(7), torch.randn(1, 3, 96, 160), samples(1, (96, 160), **meta)))


def test_the_original_shape_may_have_channels():
    maps = torch.randn(1, 5, 8, 12)
    logits = labels.Logits([(slice(0, 64), slice(0, 96))], [maps], (64, 96), False, torch.float32)
    want = F.interpolate(F.interpolate(maps, (64, 96), mode='bilinear'), (150, 170), mode='bilinear')
    assert torch.equal(logits.full(0, dict(ori_shape=(150, 170, 3))), want[0])
    assert torch.equal(logits.labels(0, dict(ori_shape=(150, 170, 3))), want.argmax(1))


def test_never_more_than_single_maps_in_memory(monkeypatch):
    made = []
    interpolate = labels.F.interpolate
    monkeypatch.setattr(
        labels.F, 'interpolate', lambda *args, **options: made.append(args[0].shape[1]) or interpolate(*args, **options)
    )
    with torch.no_grad():
        tiny(7).predict(torch.randn(2, 3, 96, 160), samples(2, (96, 160), ori_shape=(150, 170)))
    assert made == [1] * 28  # 2 images, 7 classes, 2 resizes
    made.clear()
    with torch.no_grad():
        tiny(7).predict(torch.randn(1, 3, 64, 64))  # all classes at once: height + width is at most `SMALL`
        tiny(7).predict(torch.randn(1, 3, 64, 65))
    assert made == [7] + [1] * 7
