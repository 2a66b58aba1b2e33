"""Files that are wrong in the middle of a test: an error that names them, or a score without them."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
from base import randomise
from mmseg.structures import SegDataSample
from processes import launch

from mmseg_bisenet.checkpoints import Checkpoint, read, write
from mmseg_bisenet.cli import main
from mmseg_bisenet.data import SkipUnreadableDataset
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.zoo import get_model

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
SPLIT = [f'test_dataloader.dataset.data_prefix.{key}' for key in ('img_path', 'seg_map_path')]
SPLIT = [f'{SPLIT[0]}=leftImg8bit/train', f'{SPLIT[1]}=gtFine/train', 'scale=(128,64)']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('checkpoint') / 'random.pth'
    write(path, Checkpoint(randomise(get_model(str(find_config(NAME)))).state_dict()))
    return path


@pytest.fixture
def data(drawn, tmp_path, monkeypatch) -> Path:
    """A copy of the six drawn streets that may be spoiled, as the data to test on."""
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(tmp_path / 'data'))
    return shutil.copytree(drawn, tmp_path / 'data')


def photos(data: Path) -> list[Path]:
    return sorted(data.glob('miniscapes/leftImg8bit/train/*/*.png'))


def label(photo: Path) -> Path:
    return Path(str(photo).replace('leftImg8bit', 'gtFine', 1).replace('_leftImg8bit', '_gtFine_labelTrainIds'))


def spoil(data: Path) -> list[Path]:
    """Three wrong files of the six streets, among them the first and the last: the photos that they belong to."""
    first, _, third, *_, last = photos(data)
    first.write_bytes(first.read_bytes()[:100])
    cv2.imwrite(str(label(third)), cv2.imread(str(label(third)), cv2.IMREAD_UNCHANGED)[:32])
    label(last).unlink()
    return [first, third, last]


def command(
    checkpoint: Path, work_dir: Path, *options: str, batch: int = 1, workers: int = 0, config: str = NAME
) -> list[str]:
    loader = [f'test_dataloader.{key}' for key in ('batch_size', 'num_workers', 'persistent_workers')]
    settings = [f'{key}={value}' for key, value in zip(loader, (batch, workers, workers > 0), strict=True)]
    return ['test', config, str(checkpoint), '--work-dir', str(work_dir), *options, '--cfg-options', *SPLIT, *settings]


def scores(work_dir: Path) -> dict:
    """All results, without time, versions, config and checkpoint."""
    found = json.loads((work_dir / 'evaluation' / 'scores.json').read_text())
    return {key: value for key, value in found.items() if key not in ('created', 'versions', 'config', 'checkpoint')}


def without_them(checkpoint: Path, work_dir: Path, wrong: list[Path], *options: str) -> dict:
    """Scores of the data set that does not have these streets."""
    for photo in wrong:
        photo.unlink()
        label(photo).unlink(missing_ok=True)
    assert main(command(checkpoint, work_dir, *options)) == 0
    return scores(work_dir)


def check(found: dict, expected: dict, data: Path, wrong: list[Path], err: str) -> None:
    """Scores without the wrong streets, each of them named once in ``found`` and on stderr."""
    skipped = found['skipped']
    assert expected['skipped'] == []
    assert found == expected | dict(skipped=skipped)
    assert [row['img_path'] for row in found['per_image']] == list(map(str, photos(data)))
    assert [item['img_path'] for item in skipped] == list(map(str, wrong))
    reasons = ['not an image', 'the label is 128x32 and its image 128x64', 'no such file']
    for item, photo, reason in zip(skipped, wrong, reasons, strict=True):
        assert reason in item['reason']
        assert item['reason'].startswith((f'{photo}: ', f'{label(photo)}: '))
    lines = [line for line in err.splitlines() if line.startswith('mmseg-bisenet: skipped: ')]
    assert lines == [f'mmseg-bisenet: skipped: {item["reason"]}' for item in skipped]


def test_scores_are_those_of_the_right_files(data, checkpoint, tmp_path, capsys):
    """In batches from workers; and by two processes, of which one repeats the first street, a wrong one."""
    wrong = spoil(data)
    photos(data)[1].unlink()
    out = ['--out', str(tmp_path / 'labels')]
    assert main(command(checkpoint, tmp_path / 'work', '--keep-going', *out, batch=4, workers=2)) == 1
    err = capsys.readouterr().err
    arguments = command(checkpoint, tmp_path / 'two', '--keep-going', '--launcher', 'pytorch')
    status, launched_err = launch(2, arguments, tmp_path / 'logs')
    assert status == 1

    write(tmp_path / 'same.safetensors', read(checkpoint))  # besides, the other form of checkpoints scores the same
    expected = without_them(tmp_path / 'same.safetensors', tmp_path / 'clean', wrong)
    check(scores(tmp_path / 'work'), expected, data, wrong, err)
    check(scores(tmp_path / 'two'), expected, data, wrong, launched_err)
    written = sorted(path.name.partition('_leftImg8bit')[0] for path in (tmp_path / 'labels').rglob('*.png'))
    assert written == [photo.name.removesuffix('_leftImg8bit.png') for photo in photos(data)]


def test_several_scales(data, checkpoint, tmp_path, capsys):
    wrong = spoil(data)
    options = ['--aug-test', '--keep-going']
    assert main(command(checkpoint, tmp_path / 'work', *options)) == 1
    err = capsys.readouterr().err
    check(scores(tmp_path / 'work'), without_them(checkpoint, tmp_path / 'clean', wrong, *options), data, wrong, err)


def test_without_it_the_first_wrong_file_ends_the_test(data, checkpoint, tmp_path, capsys):
    _, second, *_ = photos(data)
    second.write_bytes(second.read_bytes()[:100])
    arguments = command(checkpoint, tmp_path / 'work', '--out', str(tmp_path / 'labels'))
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('mmseg-bisenet: error: ')]
    assert f'{second}: the image cannot be read' in line
    assert not list((tmp_path / 'work').rglob('scores.json')) and not (tmp_path / 'labels').exists()


@pytest.fixture
def stock_loaders(configs, tmp_path) -> str:
    """A config of stock's loaders and metric; the metric is to be ours by an option."""
    path = tmp_path / 'stock.py'
    path.write_text(f"""
_base_ = '{configs}/bisenetv2/{NAME}.py'
test_evaluator = dict(_delete_=True, type='IoUMetric', iou_metrics=['mIoU'])
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 256), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]))
tta_pipeline = [
    dict(type='mmseg.LoadImageFromFile', backend_args=None),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations', _scope_='mmseg', imdecode_backend='cv2')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
""")
    return str(path)


@pytest.mark.parametrize('options', [[], ['--aug-test']])
def test_stock_loaders(data, checkpoint, stock_loaders, tmp_path, capsys, options):
    wrong = spoil(data)
    arguments = command(checkpoint, tmp_path / 'work', *options, config=stock_loaders)
    assert main(arguments) == 2
    assert f'mmseg-bisenet: error: {wrong[0]}: the image cannot be read' in capsys.readouterr().err
    metric = '--cfg-options', 'test_evaluator.type=mmseg_bisenet.SegmentationMetric'
    arguments = [*arguments[: arguments.index('--cfg-options')], '--keep-going', *metric, *SPLIT]
    assert main([*arguments, 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']) == 1
    err = capsys.readouterr().err
    check(scores(tmp_path / 'work'), without_them(checkpoint, tmp_path / 'clean', wrong, *options), data, wrong, err)


def test_metrics_that_would_count_the_stand_ins(data, checkpoint, tmp_path, capsys):
    arguments = command(checkpoint, tmp_path / 'work', '--keep-going')
    assert main([*arguments, 'test_evaluator.type=IoUMetric']) == 2
    assert '--keep-going: IoUMetric would count what is skipped' in capsys.readouterr().err


class Numbers:
    """A data set whose samples below ``right`` can be read."""

    metainfo = dict(classes=('odd', 'even'))

    def __init__(self, right: int) -> None:
        self.right = right

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict:
        if index >= self.right:
            raise InputError(f'{index} is wrong')
        return dict(inputs=index, data_samples=SegDataSample())

    def get_data_info(self, index: int) -> dict:
        return dict(img_path=f'{index}.png')


def test_the_next_right_sample_stands_in():
    samples = SkipUnreadableDataset(Numbers(right=1))
    assert len(samples) == 3 and samples.metainfo['classes'] == ('odd', 'even')
    assert samples[0]['data_samples'].metainfo == {}
    for index in (1, 2):
        assert samples[index]['inputs'] == 0
        skipped = dict(img_path=f'{index}.png', reason=f'{index} is wrong')
        assert samples[index]['data_samples'].metainfo == dict(skipped=skipped)


def test_no_sample_is_right():
    with pytest.raises(
        InputError, match='no image of the data set can be read together with its label; the first problem: 2 is wrong'
    ):
        SkipUnreadableDataset(Numbers(right=0))[2]
