"""The checked loading transforms: the stock ones are the oracle for right files; each wrong file is named."""

import os
from pathlib import Path
from types import SimpleNamespace

import mmcv.transforms
import mmseg.datasets.transforms as stock
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmseg.apis.utils import _preprare_data
from mmseg.datasets import BaseSegDataset
from PIL import Image
from torch.utils.data import DataLoader

from mmseg_bisenet.data.transforms import LoadAnnotations, LoadImageFromFile
from mmseg_bisenet.errors import InputError

PIPELINE = [
    dict(type='LoadImageFromFile', _scope_='mmseg_bisenet'),
    dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=19),
]


def label_file(tmp_path: Path, label: np.ndarray, name: str = 'label.png') -> str:
    Image.fromarray(label).save(tmp_path / name)
    return str(tmp_path / name)


def sample(path: str, reduce_zero_label: bool = False, label_map: dict | None = None, **others) -> dict:
    """What a data set hands to LoadAnnotations."""
    return dict(seg_map_path=path, reduce_zero_label=reduce_zero_label, label_map=label_map, seg_fields=[], **others)


def refusal(transform, results: dict) -> str:
    with pytest.raises(InputError) as caught:
        transform(results)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_config_with_the_default_scope_of_mmseg_builds_ours():
    with DefaultScope.overwrite_default_scope('mmseg'):
        pipeline = Compose([*PIPELINE, dict(type='PackSegInputs')])
        plain = Compose([dict(type='LoadAnnotations')])
    assert [type(transform) for transform in pipeline.transforms] == [
        LoadImageFromFile,
        LoadAnnotations,
        stock.PackSegInputs,
    ]
    assert type(plain.transforms[0]) is stock.LoadAnnotations


def test_a_street_scene_is_read_as_stock_reads_it(shared_data):
    street = str(shared_data / 'street' / 'frankfurt_000000_000294_')
    results = dict(img_path=f'{street}leftImg8bit.png', **sample(f'{street}gtFine_labelTrainIds.png'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        ours = Compose(PIPELINE)(dict(results, seg_fields=[]))
        theirs = Compose([dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')])(dict(results, seg_fields=[]))
    assert ours.keys() == theirs.keys()
    assert ours['ori_shape'] == ours['img_shape'] == theirs['img_shape'] == (128, 256)
    assert ours['seg_fields'] == theirs['seg_fields'] == ['gt_seg_map']
    for key in ('img', 'gt_seg_map'):
        assert ours[key].dtype == theirs[key].dtype == np.uint8
        np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 255, 1: 0, 2: 2, 3: 1, 4: 255}, {0: 1, 1: 0}])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_ids_are_mapped_as_stock_maps_them(tmp_path, reduce_zero_label, label_map, dtype):
    label = np.array([[0, 1, 2], [3, 4, 255]], dtype=dtype)
    path = label_file(tmp_path, label)
    ours = LoadAnnotations(num_classes=5)(sample(path, reduce_zero_label, label_map))['gt_seg_map']
    theirs = stock.LoadAnnotations()(sample(path, reduce_zero_label, label_map))['gt_seg_map']
    assert ours.dtype == theirs.dtype == np.uint8
    np.testing.assert_array_equal(ours, theirs)


def test_a_palette_label_gives_its_indices(tmp_path):
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    image = Image.fromarray(ids).convert('P')
    image.putdata(ids.ravel().tolist())
    image.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    image.save(tmp_path / 'label.png')
    loaded = LoadAnnotations(num_classes=3)(sample(str(tmp_path / 'label.png')))
    np.testing.assert_array_equal(loaded['gt_seg_map'], ids)


def test_the_highest_class_and_the_ignored_id_pass_and_the_next_does_not(tmp_path):
    for num_classes, ignore_index in ((1, 255), (19, 255), (19, 200), (256, 255)):
        path = label_file(tmp_path, np.array([[0, num_classes - 1, ignore_index]], np.uint8).repeat(2, 0))
        LoadAnnotations(num_classes, ignore_index)(sample(path))
    path = label_file(tmp_path, np.array([[0, 5], [3, 255]], np.uint8))
    message = refusal(LoadAnnotations(num_classes=5), sample(path))
    assert message == (
        f'{path}: the label has ids 5 outside the 5 classes (0 to 4, 255 is ignored); '
        'fix the label, or set num_classes and ignore_index to the ids of the labels'
    )
    assert 'ids 255 outside' in refusal(LoadAnnotations(num_classes=6, ignore_index=200), sample(path))


def test_ids_are_reported_as_they_stand_in_the_file(tmp_path):
    path = label_file(tmp_path, np.array([[0, 3], [4, 9]], np.uint8))
    assert 'ids 4, 9 outside the 3 classes' in refusal(LoadAnnotations(num_classes=3), sample(path, True))
    many = label_file(tmp_path, np.arange(100, dtype=np.uint8).reshape(10, 10))
    message = refusal(LoadAnnotations(num_classes=50), sample(many))
    assert 'ids 50, 51, 52, 53, 54, 55, 56, 57, ... outside the 50 classes' in message


def test_an_id_above_255_does_not_become_a_class(tmp_path):
    path = label_file(tmp_path, np.array([[0, 256], [65535, 1]], np.uint16))
    assert stock.LoadAnnotations()(sample(path))['gt_seg_map'][0, 1] == 0
    assert 'ids 256, 65535 outside the 19 classes' in refusal(LoadAnnotations(num_classes=19), sample(path))


def test_cityscapes_label_ids_are_named(tmp_path, shared_data):
    path = str(shared_data / 'street' / 'frankfurt_000000_000294_gtFine_labelIds.png')
    message = refusal(LoadAnnotations(num_classes=19), sample(path))
    found = sorted(value for value in set(Image.open(path).tobytes()) if value >= 19)
    assert message.startswith(f'{path}: the label has ids {", ".join(map(str, found))} outside the 19 classes')
    assert 'labelIds instead of labelTrainIds' in message
    assert "seg_map_suffix='_gtFine_labelTrainIds.png'" in message

    renamed = label_file(tmp_path, np.array([[7, 23], [33, 0]], np.uint8))
    assert 'labelIds instead of labelTrainIds' in refusal(LoadAnnotations(num_classes=19), sample(renamed))
    other = label_file(tmp_path, np.array([[7, 23], [34, 0]], np.uint8))
    assert 'labelIds' not in refusal(LoadAnnotations(num_classes=19), sample(other))


def test_a_label_of_another_size_is_named(tmp_path):
    path = label_file(tmp_path, np.zeros((4, 6), np.uint8))
    message = refusal(LoadAnnotations(num_classes=2), sample(path, ori_shape=(6, 4)))
    assert message == (
        f'{path}: the label is 6x4 and its image 4x6 (width x height); create the label again at the size of the image'
    )
    LoadAnnotations(num_classes=2)(sample(path, ori_shape=(4, 6)))


def test_the_label_of_a_resized_image_is_compared_with_the_file(tmp_path):
    """In a test pipeline the label is loaded after the image was resized."""
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / 'image.png')
    path = label_file(tmp_path, np.zeros((4, 6), np.uint8))
    pipeline = [PIPELINE[0], dict(type='Resize', scale=(12, 8)), PIPELINE[1]]
    with DefaultScope.overwrite_default_scope('mmseg'):
        results = Compose(pipeline)(dict(img_path=str(tmp_path / 'image.png'), **sample(path)))
    assert results['img'].shape == (8, 12, 3)
    assert results['gt_seg_map'].shape == (4, 6)


@pytest.mark.parametrize('shape', [(1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_a_label_of_one_row_or_column(tmp_path, shape, suffix):
    """Stock drops every axis of length 1."""
    label = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = str(tmp_path / f'label{suffix}')
    Image.fromarray(label).save(path)
    for backend in ('pillow', 'cv2'):
        loaded = LoadAnnotations(num_classes=5, imdecode_backend=backend)(sample(path, ori_shape=shape))
        np.testing.assert_array_equal(loaded['gt_seg_map'], label)
    assert stock.LoadAnnotations()(sample(path))['gt_seg_map'].ndim < 2
    message = refusal(LoadAnnotations(num_classes=5), sample(path, ori_shape=(2, 2)))
    assert f'the label is {shape[1]}x{shape[0]} and its image 2x2' in message


def test_a_pipe_is_not_waited_for(tmp_path):
    path = str(tmp_path / 'a.png')
    os.mkfifo(path)
    for load, results in ((LoadImageFromFile(), dict(img_path=path)), (LoadAnnotations(num_classes=2), sample(path))):
        assert refusal(load, results) == f'{path} is a pipe or a device; save what it gives to a file'


def test_a_colour_label_is_named(tmp_path):
    path = label_file(tmp_path, np.zeros((4, 6, 3), np.uint8))
    message = refusal(LoadAnnotations(num_classes=2), sample(path))
    problem = 'the label has shape (4, 6, 3) instead of one channel of class ids (H, W)'
    assert message.startswith(f'{path}: {problem}; convert')


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize(
    ('dtype', 'options', 'problem'),
    [
        (np.uint8, dict(format='JPEG'), 'is compressed as jpeg, which changes ids'),
        (np.uint8, dict(format='TIFF', compression='jpeg'), 'is compressed as jpeg, which changes ids'),
        (np.float32, dict(format='TIFF'), 'has pixels of type float32, not integers'),
    ],
)
def test_a_label_that_does_not_hold_ids_is_named(tmp_path, backend, dtype, options, problem):
    """The name of the file does not count."""
    path = tmp_path / 'label.png'
    Image.fromarray(np.ones((8, 8), dtype)).save(path, **options)
    message = refusal(LoadAnnotations(num_classes=2, imdecode_backend=backend), sample(str(path)))
    assert message == f'{path}: the label {problem}; write it again as PNG, from its source'


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
def test_a_label_that_programs_would_turn_is_named(tmp_path, backend):
    path, label, exif = tmp_path / 'label.png', np.arange(6, dtype=np.uint8).reshape(2, 3), Image.Exif()
    load = LoadAnnotations(num_classes=6, imdecode_backend=backend)
    exif[0x0112] = 3
    Image.fromarray(label).save(path, exif=exif)
    said = 'the label has an EXIF orientation, which programs apply to images but not to ids; write it again without'
    assert refusal(load, sample(str(path))) == f'{path}: {said}'
    exif[0x0112] = 1
    Image.fromarray(label).save(path, exif=exif)
    np.testing.assert_array_equal(load(sample(str(path)))['gt_seg_map'], label)


@pytest.mark.parametrize(
    'options', [dict(format='TIFF'), dict(format='TIFF', compression='tiff_lzw'), dict(format='BMP')]
)
def test_a_label_of_another_lossless_format_is_read(tmp_path, options):
    path, label = tmp_path / 'label.png', np.arange(6, dtype=np.uint8).reshape(2, 3)
    Image.fromarray(label).save(path, **options)
    np.testing.assert_array_equal(LoadAnnotations(num_classes=6)(sample(str(path)))['gt_seg_map'], label)


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize('damage', ['missing', 'empty', 'garbage', 'cut short', 'a folder'])
def test_an_unreadable_file_is_named(tmp_path, backend, damage):
    path = tmp_path / 'a.png'
    if damage == 'a folder':
        path.mkdir()
    elif damage != 'missing':
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)
        content = path.read_bytes()
        path.write_bytes({'empty': b'', 'garbage': b'not a PNG', 'cut short': content[: len(content) // 2]}[damage])
    reason = {'missing': 'no such file', 'a folder': 'Is a directory'}.get(damage, 'empty, cut short or not an image')

    message = refusal(LoadImageFromFile(imdecode_backend=backend), dict(img_path=str(path)))
    assert message.startswith(f'{path}: the image cannot be read ({reason}); replace the file')
    message = refusal(LoadAnnotations(num_classes=2, imdecode_backend=backend), sample(str(path)))
    assert message.startswith(f'{path}: the label cannot be read ({reason}); replace the file')


def test_the_image_loader_keeps_the_options_of_stock(tmp_path):
    Image.fromarray(np.arange(72, dtype=np.uint8).reshape(4, 6, 3)).save(tmp_path / 'a.png')
    options = dict(to_float32=True, color_type='grayscale', imdecode_backend='pillow')
    results = dict(img_path=str(tmp_path / 'a.png'))
    ours, theirs = LoadImageFromFile(**options), mmcv.transforms.LoadImageFromFile(**options)
    np.testing.assert_array_equal(ours(dict(results))['img'], theirs(dict(results))['img'])
    assert LoadImageFromFile(ignore_empty=True)(dict(img_path='/nowhere/a.png')) is None


@pytest.mark.parametrize('num_classes', [None, 0, -1, 257, 19.0, '19', True])
def test_num_classes_is_required(num_classes):
    cfg = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=num_classes)
    if num_classes is None:
        cfg.pop('num_classes')
    with pytest.raises(InputError) as caught:
        Compose([cfg])
    assert str(caught.value).startswith(f'LoadAnnotations: num_classes is {num_classes!r}; give the number of classes')


def test_a_reduce_zero_label_that_contradicts_the_data_set_is_refused(tmp_path):
    path = label_file(tmp_path, np.zeros((2, 2), np.uint8))
    with pytest.warns(UserWarning, match='reduce_zero_label'):
        transform = LoadAnnotations(num_classes=2, reduce_zero_label=True)
    assert 'set it on the data set only' in refusal(transform, sample(path, False))
    assert transform(sample(path, True))['gt_seg_map'].tolist() == [[255, 255], [255, 255]]


@pytest.mark.parametrize('of_array', [False, True])
def test_stock_inference_drops_the_label_and_takes_files_and_arrays(tmp_path, of_array):
    """mmseg.apis.inference_model edits the pipeline by the names of its transforms."""
    image = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(image[:, :, ::-1]).save(tmp_path / 'a.png')
    first = dict(PIPELINE[0], to_float32=True, imdecode_backend='pillow')
    cfg = Config(dict(test_pipeline=[first, PIPELINE[1], dict(type='PackSegInputs')]))
    with DefaultScope.overwrite_default_scope('mmseg'):
        data, is_batch = _preprare_data(image if of_array else str(tmp_path / 'a.png'), SimpleNamespace(cfg=cfg))
    assert not is_batch
    assert [step['type'] for step in cfg.test_pipeline] == [
        'LoadImageFromNDArray' if of_array else 'LoadImageFromFile',
        'PackSegInputs',
    ]
    np.testing.assert_array_equal(data['inputs'][0].numpy(), image.transpose(2, 0, 1).astype(np.float32))
    assert data['data_samples'][0].ori_shape == (4, 6)


def test_the_stock_inferencer_loader_takes_our_arguments(tmp_path):
    """MMSegInferencer renames the image loader to InferencerLoader and leaves its other keys."""
    image = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(image[:, :, ::-1]).save(tmp_path / 'a.png')
    with DefaultScope.overwrite_default_scope('mmseg'):
        loader = Compose([dict(PIPELINE[0], type='InferencerLoader')])
        for single in (image, str(tmp_path / 'a.png')):
            np.testing.assert_array_equal(loader(single)['img'], image)


def test_the_error_of_a_data_worker_names_the_file_in_the_main_process(tmp_path):
    for name, value in (('a', 0), ('b', 40)):
        for folder, array in (('images', np.zeros((4, 6, 3), np.uint8)), ('labels', np.full((4, 6), value, np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f'{name}.png')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = BaseSegDataset(
            img_suffix='.png',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=[*PIPELINE, dict(type='PackSegInputs')],
        )
    batches = iter(DataLoader(dataset, batch_size=1, num_workers=1, collate_fn=list))
    assert next(batches)[0]['inputs'].shape == (3, 4, 6)
    with pytest.raises(InputError, match=f'{tmp_path}/labels/b.png: the label has ids 40 outside the 19 classes'):
        next(batches)


def test_another_decoder_is_named(tmp_path):
    path = label_file(tmp_path, np.zeros((4, 4), np.uint8))
    load = LoadAnnotations(num_classes=2, imdecode_backend='tifffile')
    with pytest.raises(
        InputError, match=r'the label cannot be read \(empty, .* or not an image, for imdecode_backend=tif'
    ):
        load(dict(seg_map_path=path, seg_fields=[], reduce_zero_label=False))
