"""Windows, and the protocols of CoinCheung's tables against a plain implementation."""

import math

import pytest
import torch
import torch.nn.functional as F
from base import build
from mmengine.config import Config
from models.inference.test_labels import both, samples, tiny
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference import protocols

SCALES = (0.5, 0.75, 1, 1.25, 1.5, 1.75)


def network(segmentor: nn.Module, x: Tensor) -> Tensor:
    """Logits with the size of the image."""
    return F.interpolate(segmentor(x), x.shape[2:], mode='bilinear')


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


def reference_windows(segmentor: nn.Module, image: Tensor, side: int, flip: bool, rate: float = 2 / 3) -> Tensor:
    """Padding, windows and their sum, as the protocol is defined."""
    n, channels, height, width = image.shape
    padded = torch.zeros(n, channels, max(height, side), max(width, side))
    top, left = (padded.shape[2] - height) // 2, (padded.shape[3] - width) // 2
    padded[:, :, top : top + height, left : left + width] = image
    step = math.ceil(side * rate)
    total = torch.zeros(n, segmentor.num_classes, *padded.shape[2:])
    for i in range(math.ceil((padded.shape[2] - side) / step) + 1):
        for j in range(math.ceil((padded.shape[3] - side) / step) + 1):
            bottom, right = min(i * step + side, padded.shape[2]), min(j * step + side, padded.shape[3])
            place = slice(None), slice(None), slice(bottom - side, bottom), slice(right - side, right)
            chip = padded[place]
            result = network(segmentor, chip).softmax(1)
            if flip:
                result = torch.exp(result + network(segmentor, chip.flip(3)).flip(3).softmax(1))
            total[place] += result
    return total[:, :, top : top + height, left : left + width]


def reference(segmentor: nn.Module, mode: str, image: Tensor, side: int, scales: tuple[float, ...]) -> Tensor:
    size = tuple(image.shape[2:])
    total = torch.zeros(image.shape[0], segmentor.num_classes, *size)
    for scale in scales if mode in ('msf', 'mscf') else (1,):
        wanted = int(size[0] * scale), int(size[1] * scale)
        if mode in ('ss', 'msf'):
            scaled = resized(image, (-(-wanted[0] // 32) * 32, -(-wanted[1] // 32) * 32))
            total += resized(network(segmentor, scaled), size).softmax(1)
            if mode == 'msf':
                total += resized(network(segmentor, scaled.flip(3)).flip(3), size).softmax(1)
        else:
            scaled = resized(image, wanted)
            total += resized(reference_windows(segmentor, scaled, side, flip=mode == 'mscf'), size)
    return total


@pytest.mark.parametrize('size', [(96, 160), (50, 171), (170, 50), (40, 48), (96, 96), (33, 95)])
@pytest.mark.parametrize('mode', protocols.PROTOCOLS)
@torch.no_grad()
def test_protocols_equal_the_plain_reference(mode, size):
    segmentor = tiny(7, test_cfg=dict(mode=mode, crop_size=(96, 96), keep_logits=True))
    image = torch.randn(2, 3, *size)
    expected = reference(segmentor, mode, image, 96, SCALES)
    for i, sample in enumerate(segmentor.predict(image, samples(2, size))):
        assert torch.equal(sample.seg_logits.data, expected[i])
        assert torch.equal(sample.pred_sem_seg.data[0], expected[i].argmax(0))


@torch.no_grad()
def test_scaled_sizes_are_rounded_up_to_32():
    for mode, expected in dict(ss=[(128, 192)], msf=[(64, 96)] * 2 + [(128, 192)] * 2).items():
        sizes: list[tuple[int, int]] = []
        protocols.probabilities(
            lambda x, sizes=sizes: sizes.append(tuple(x.shape[2:])) or x,
            torch.zeros(1, 3, 120, 161),
            protocols.check(dict(mode=mode, scales=(0.5, 1))),
        )
        assert sizes == expected


@torch.no_grad()
def test_ss_is_whole_at_multiples_of_32():
    image = torch.randn(1, 3, 96, 160)
    labels = [tiny(7, test_cfg=dict(mode=mode)).predict(image)[0].pred_sem_seg.data for mode in ('ss', 'whole')]
    assert torch.equal(*labels)


@pytest.mark.parametrize('size', [(96, 160), (50, 170), (200, 120)])
@torch.no_grad()
def test_the_step_is_an_option(size):
    """A stride of five sixths of the window, as V1's authors use (TorchSeg, furnace/engine/evaluator.py)."""
    for mode in ('ssc', 'mscf'):
        segmentor = tiny(
            7, test_cfg=dict(mode=mode, crop_size=(96, 96), stride=(80, 80), scales=(1,), keep_logits=True)
        )
        image = torch.randn(1, 3, *size)
        expected = reference_windows(segmentor, image, 96, mode == 'mscf', 5 / 6)
        assert torch.equal(segmentor.predict(image)[0].seg_logits.data, expected[0])
    seen, wide = [], torch.arange(2048.0).expand(1, 3, 1024, 2048)
    test_cfg = protocols.check(dict(mode='ssc', stride=(854, 854)))
    protocols.probabilities(lambda x: seen.append((x[0, 0, 0, 0].item(), tuple(x.shape[2:]))) or x, wide, test_cfg)
    assert seen == [(column, (1024, 1024)) for column in (0, 854, 1024)]


@torch.no_grad()
def test_scales_and_the_original_size_are_options():
    segmentor = tiny(7, test_cfg=dict(mode='msf', scales=(0.5, 1)))
    image = torch.randn(1, 3, 96, 160)
    expected = reference(segmentor, 'msf', image, 96, (0.5, 1))
    expected = F.interpolate(expected, (192, 320), mode='bilinear')[0].argmax(0)
    (sample,) = segmentor.predict(image, samples(1, (96, 160), ori_shape=(192, 320)))
    assert torch.equal(sample.pred_sem_seg.data[0], expected)
    assert 'seg_logits' not in sample


@torch.no_grad()
def test_the_tables_window_is_the_default():
    seen = []
    total = protocols.probabilities(
        lambda x: seen.append(tuple(x.shape[2:])) or x, torch.zeros(1, 3, 1024, 2048), protocols.check(dict(mode='ssc'))
    )
    assert seen == [(1024, 1024)] * 3  # at columns 0, 683 and, flush with the border, 1024
    assert torch.equal(
        total[0, 0, 0, [0, 682, 683, 1023, 1024, 1706, 1707, 2047]] * 3, torch.tensor([1.0, 1, 2, 2, 2, 2, 1, 1])
    )


@torch.no_grad()
def test_windows_need_not_be_square():
    seen: list[Tensor] = []
    image = torch.ones(1, 3, 40, 50)
    total = protocols.probabilities(
        lambda x: seen.append(x) or x, image, protocols.check(dict(mode='ssc', crop_size=(64, 96)))
    )
    (window,) = seen
    assert torch.equal(window, F.pad(image, (23, 23, 12, 12)))
    assert torch.equal(total, image.softmax(1))


@pytest.mark.parametrize('size', [(100, 100), (101, 170), (30, 200), (64, 64)])
@pytest.mark.parametrize('crop, stride', [((64, 64), (43, 43)), ((64, 48), (64, 48)), ((50, 70), (49, 1))])
def test_windows_cover_everything_and_lie_inside(size, crop, stride):
    covered = torch.zeros(size)
    for rows, columns in protocols.windows(size, protocols.check(dict(mode='slide', crop_size=crop, stride=stride))):
        assert covered[rows, columns].shape == (min(crop[0], size[0]), min(crop[1], size[1]))
        covered[rows, columns] += 1
    assert covered.min() == 1


@torch.no_grad()
def test_a_window_as_large_as_the_image_is_the_whole_image():
    image, whole = torch.randn(1, 3, 96, 160), tiny(7)
    slide = tiny(7, test_cfg=dict(mode='slide', crop_size=(96, 160), stride=(10, 10)))
    assert torch.equal(slide.predict(image)[0].pred_sem_seg.data, whole.predict(image)[0].pred_sem_seg.data)


def test_evaluated_at_half_the_size_and_scored_at_the_labels_own(configs, drawn, monkeypatch):
    """As in V2's paper. On the command line the option is `scale`."""
    from mmseg.registry import DATASETS

    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    cfg = Config.fromfile(configs / 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py')
    cfg.merge_from_dict({'test_dataloader.dataset.pipeline.1.scale': (64, 32)})
    segmentor = build(dict(cfg.model, auxiliary_head=None)).eval()
    item = DATASETS.build(cfg.test_dataloader.dataset)[0]
    data = segmentor.data_preprocessor(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]))
    assert data['inputs'].shape == (1, 3, 32, 64)
    theirs, ours = both(segmentor, **dict(x=data['inputs'], samples=data['data_samples']))
    assert torch.equal(ours[0].pred_sem_seg.data, theirs[0].pred_sem_seg.data)
    assert ours[0].pred_sem_seg.data.shape == ours[0].gt_sem_seg.data.shape == (1, 64, 128)
    # `--aug-test` has another pipeline, with a scale for each view.
    views = [(32, 16), (48, 24), (64, 32), (80, 40), (96, 48), (112, 56)]
    cfg.merge_from_dict({f'tta_pipeline.1.transforms.0.{i}.scale': view for i, view in enumerate(views)})
    item = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=cfg.tta_pipeline))[0]
    assert [view.shape[:0:-1] for view in item['inputs']] == [view for view in views for _ in range(2)]


@pytest.mark.parametrize(
    'test_cfg, message',
    [
        (dict(mode='crop'), r"model\.test_cfg\.mode='crop' is not known; choose whole, slide, ss, ssc, msf, mscf"),
        (
            dict(rescale=False),
            'nothing reads model.test_cfg.rescale; remove it, or choose from mode, crop_size, stride',
        ),
        (dict(mode='slide', crop_size=(64, 64)), r'model\.test_cfg\.stride is missing; mode slide needs'),
        (dict(mode='slide', crop_size=(64, 64), stride=(64, 65)), 'windows would leave gaps'),
        (dict(mode='mscf', stride=(1024, 1025)), r'stride=\(1024, 1025\) is larger than crop_size=\(1024, 1024\)'),
    ],
)
def test_what_is_no_mode(test_cfg, message):
    with pytest.raises(InputError, match=message):
        tiny(7, test_cfg=test_cfg)


@pytest.mark.parametrize('mode', protocols.PROTOCOLS)
def test_protocols_refuse_a_single_foreground_class(mode):
    """Its softmax is 1 everywhere."""
    with pytest.raises(InputError, match=rf'mode={mode} compares probabilities of classes, and the decode_head has'):
        tiny(2, head=dict(out_channels=1, threshold=0.5), test_cfg=dict(mode=mode))
