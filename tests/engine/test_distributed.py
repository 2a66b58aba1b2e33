"""With several processes on CPUs, over gloo, gradients, evaluation and the order of images are those of one process.

The processes are started once for each number of processes. They do all the work (:func:`work`), and the tests check
the files that they wrote.
"""

import copy
import csv
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from base import build, randomise
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmseg.registry import HOOKS, METRICS
from models.test_segmentor import batch, read
from ports import free_ports
from processes import METHOD
from torch import Tensor, distributed, nn
from torch.multiprocessing import start_processes
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks import scaling
from mmseg_bisenet.cli import main

ROOT = Path(__file__).resolve().parents[2]
NAME = 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'
NETWORKS = {
    'V1': 'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py',
    'V2': 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py',
}
OHEM = dict(type='mmseg_bisenet.OHEMCrossEntropyLoss')
# The loss, the number of unlabelled rows in each of four images, and whether the whole batch has the same gradients as
# the mean of its parts.
LOSSES = {
    'cross entropy': (dict(type='mmseg_bisenet.CrossEntropyLoss'), (4, 8, 12, 16), True),
    'OHEM of all pixels, equally many': (dict(OHEM, threshold=1.0), (8, 8, 8, 8), True),
    'OHEM of all pixels, not equally many': (dict(OHEM, threshold=1.0), (4, 8, 12, 16), False),
    'OHEM by the threshold': (dict(OHEM, threshold=0.05, min_kept_fraction=0), (8, 8, 8, 8), False),
    'OHEM of the hardest quarter': (dict(OHEM, threshold=1e-9, min_kept_fraction=1 / 4), (8, 8, 8, 8), False),
}
IMAGES = 4
TOTAL_BATCH = 8
SIZE = (32, 32)


# -- the work of the processes -----------------------------------------------------------------------------------------


@METRICS.register_module()
class Predictions(BaseMetric):
    """Writes the name of each image and the checksum of its prediction, in the order of the combined results."""

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        for sample in data_samples:
            self.results.append((Path(sample['img_path']).name, checksum(sample['pred_sem_seg']['data'])))

    def compute_metrics(self, results: list) -> dict:
        Path('predictions.json').write_text(json.dumps(results))
        return {}


@HOOKS.register_module()
class Samples(Hook):
    """Writes the checksums of the images and labels that this process trained on, in order."""

    def before_train(self, runner: Runner) -> None:
        self.seen = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        for image, sample in zip(data_batch['inputs'], data_batch['data_samples'], strict=True):
            self.seen.append([checksum(image), checksum(sample.gt_sem_seg.data)])

    def after_train(self, runner: Runner) -> None:
        Path('samples.json').write_text(json.dumps(self.seen))


def checksum(values: Tensor) -> int:
    return zlib.crc32(values.to(torch.uint8).contiguous().numpy().tobytes())


def work(rank: int, processes: int, folder: Path, config: Path, ports: list[int]) -> None:
    """One process: it evaluates, trains, measures and computes gradients, and writes into ``folder``.

    Each process has its own work dir, as if it were on another machine. In a shared one, all processes would write the
    scores of a test into the same file, because of MMEngine's ``LoggerHook``.
    """
    own = folder / str(rank)
    own.mkdir()
    os.chdir(own)
    torch.set_num_threads(1)
    os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR='127.0.0.1')
    launcher = ['--launcher', 'pytorch' if processes > 1 else 'none']
    batch_size = f'train_dataloader.batch_size={TOTAL_BATCH // processes}'
    commands = [
        (main, ['test', config, folder.parent / 'random.pth', '--work-dir', own / 'test', '--out', own / 'labels']),
        (main, ['train', config, '--work-dir', own / 'train', '--cfg-options', batch_size]),
    ]
    if processes == 2:
        commands.append((scaling.main, [config, '--steps', '2', '--csv', folder / 'scaling.csv']))
    for (run, command), port in zip(commands, ports, strict=False):
        os.environ['MASTER_PORT'] = str(port)
        assert run([*map(str, command), *launcher]) == 0
        assert not distributed.is_initialized()  # the process group is closed
    if processes > 1:
        os.environ['MASTER_PORT'] = str(ports[-1])
        distributed.init_process_group('gloo')
        results = {name: deviations(name) for name in NETWORKS}
        distributed.destroy_process_group()
        if rank == 0:
            Path('gradients.json').write_text(json.dumps(results))


def deviations(name: str) -> dict[str, tuple[float, float]]:
    """For each loss, how far DDP's gradients are from the whole batch's and from the mean of its parts', relative."""
    cfg = read(str(ROOT / 'configs' / NETWORKS[name]), SIZE).model
    for head in (cfg.decode_head, *cfg.auxiliary_head):
        head.update(channels=16, dropout_ratio=0)
    if 'backbone_cfg' in cfg.backbone:  # a quarter of ResNet-18's width: the processes exchange a sixteenth
        cfg.backbone.update(context_channels=(32, 64, 128))
        cfg.backbone.backbone_cfg.update(base_channels=16)
        for head in cfg.auxiliary_head:
            head.in_channels = 32
    model = randomise(build(cfg)).double().train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    wrapped = MMDistributedDataParallel(copy.deepcopy(model), broadcast_buffers=False)
    size = IMAGES // distributed.get_world_size()
    parts = [slice(start, start + size) for start in range(0, IMAGES, size)]
    found = {}
    for loss, (loss_decode, empty, _) in LOSSES.items():
        data = model.data_preprocessor(batch(SIZE, cfg.num_classes, IMAGES), training=True)
        for sample, rows in zip(data['data_samples'], empty, strict=True):
            sample.gt_sem_seg.data[:, :rows] = 255
        for segmentor in (model, wrapped.module):
            for head in (segmentor.decode_head, *segmentor.auxiliary_head):
                head.loss_decode = build(loss_decode)
        ours = gradients(wrapped, data, parts[distributed.get_rank()])
        if distributed.get_rank() == 0:
            whole = gradients(model, data, slice(IMAGES))
            mean = sum(gradients(model, data, part) for part in parts) / len(parts)
            found[loss] = [((ours - other).abs().max() / other.abs().max()).item() for other in (whole, mean)]
    return found


def gradients(model: nn.Module, data: dict, part: slice) -> Tensor:
    """The gradients of all parameters, concatenated."""
    model.zero_grad()
    losses = model(data['inputs'][part].double(), data['data_samples'][part], mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    each = [parameter.grad for parameter in model.parameters()]
    assert all(gradient.any() for gradient in each)
    return torch.cat([gradient.flatten() for gradient in each])


# -- the tests ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def config(drawn, tmp_path_factory) -> Path:
    """The config of the demo with small images and the classes above, and random weights beside it."""
    path = tmp_path_factory.mktemp('processes') / 'small.py'
    path.write_text(f"""
_base_ = '{ROOT}/configs/{NAME}'
data_root = '{drawn}/miniscapes'
model = dict(data_preprocessor=dict(size=(64, 64)))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(256, 128), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64)),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    sampler=dict(type='mmseg_bisenet.ResumableSampler'),
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
train_cfg = dict(type='mmseg_bisenet.ResumableTrainLoop', max_iters=2, val_begin=10000000)
test_evaluator = [
    dict(type='IoUMetric', collect_device='gpu'),
    dict(type='mmseg_bisenet.SegmentationMetric', boundary=True, prefix='ours'),
    dict(type='Predictions', collect_device='gpu'),
]
custom_hooks = [dict(type='Samples')]
""")
    cfg = read(str(path), (64, 64))
    cfg.model.auxiliary_head = None
    torch.manual_seed(0)
    torch.save(dict(state_dict=build(cfg.model).state_dict()), path.with_name('random.pth'))
    return path


@pytest.fixture(scope='module')
def done(config) -> Callable[[int], Path]:
    """Runs :func:`work` once in that many processes, and returns their folder."""
    folders = {}

    def run(processes: int) -> Path:
        if processes not in folders:
            folders[processes] = folder = config.parent / str(processes)
            folder.mkdir()
            start_processes(work, (processes, folder, config, free_ports(4)), processes, start_method=METHOD)
        return folders[processes]

    return run


@pytest.mark.parametrize('processes', [2, 4])
@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('network', NETWORKS)
def test_gradients(done, network, loss, processes):
    """DDP gives the mean of the processes' gradients: the whole batch's, unless OHEM keeps other pixels of a part."""
    results = json.loads((done(processes) / '0/gradients.json').read_text())
    from_whole, from_mean = results[network][loss]
    *_, equal = LOSSES[loss]
    assert from_mean < 1e-12
    assert (from_whole < 1e-12) == equal


@pytest.mark.parametrize('processes', [2, 4])
def test_evaluation_sees_every_image_once(done, processes):
    """There are three images, so with 2 or 4 processes one is predicted twice."""
    one, many = (json.loads((done(n) / '0/predictions.json').read_text()) for n in (1, processes))
    assert len({name for name, _ in many}) == len(many) == 3
    assert many == one
    found = scores(done(processes))
    assert found == scores(done(1))
    # The JSON has all digits of stock's float32.
    assert all(round(found[key], 2) == found[f'ours/{key}'] for key in ('aAcc', 'mIoU', 'mAcc'))


@pytest.mark.parametrize('processes', [2, 4])
def test_what_an_evaluation_leaves_is_one_process_s(done, processes):
    """Only the main process writes scores and samples. Each process writes the predictions of its own images."""
    one, many = (done(n) / '0/test/evaluation' for n in (1, processes))
    ours, wanted = (json.loads((folder / 'scores.json').read_text()) for folder in (many, one))
    assert ours | dict(created=None) == wanted | dict(created=None)
    assert contents(many, 'samples/*.png') == contents(one, 'samples/*.png')
    assert contents(done(processes), '*/labels/*.png') == contents(done(1), '0/labels/*.png')
    assert list(done(processes).glob('*/test/evaluation')) == [many]


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


@pytest.mark.parametrize('processes', [2, 4])
def test_training_sees_what_one_process_sees(done, processes):
    """With the same total batch size, the same images with the same augmentation, divided among the processes."""
    (one,), many = samples(done(1)), samples(done(processes))
    assert len(one) == 2 * TOTAL_BATCH
    assert [sample for turn in zip(*many, strict=True) for sample in turn] == one


def samples(folder: Path) -> list[list]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob('*/samples.json'))]


def scores(folder: Path) -> dict[str, float]:
    (file,) = folder.glob('0/test/2*/*.json')
    return {key: value for key, value in json.loads(file.read_text()).items() if 'time' not in key}


def test_scaling_is_measured_among_processes(done):
    with (done(2) / 'scaling.csv').open(newline='') as file:
        rows = {row['gpus']: row for row in csv.DictReader(file)}
    assert list(rows) == ['1', '2', '4', '8', '16', '32', '64']
    two = rows['2']
    assert two['processes'] == '2'
    assert float(two['expected_all_reduce_ms']) == pytest.approx(float(two['all_reduce_ms']))
