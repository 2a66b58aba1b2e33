"""An exported file with one wrong bit, anywhere in it or in its parts, is not opened."""

import json
import os
import random
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from deploy.about import ABOUT, write_about

from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.backends import FORMATS
from mmseg_bisenet.deploy.backends.base import beside, reading
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.metadata import MARK, UNSEALED, ZEROS, read_metadata, seal
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict import Predictor

GONE = object()


@pytest.fixture
def openvino_file(tmp_path) -> Path:
    """Only what is read of an OpenVINO model."""
    path = tmp_path / 'net.xml'
    net = ElementTree.Element('net')
    about = json.dumps(ABOUT | dict(format='openvino', checksum=UNSEALED))
    ElementTree.SubElement(ElementTree.SubElement(net, 'rt_info'), 'mmseg_bisenet', value=about)
    path.write_bytes(ElementTree.tostring(net))
    path.with_suffix('.bin').write_bytes(bytes(1000))
    seal(FORMATS['openvino'], path)
    return path


@pytest.fixture(scope='module')
def fixed_onnx(small_segmentor, tmp_path_factory) -> Path:
    """For images of one shape."""
    return export(small_segmentor, 'onnx', 'fp32', (64, 128), tmp_path_factory.mktemp('fixed'))


def copied(path: Path, folder: Path) -> Path:
    for part in path.parent.glob(f'{path.stem}.*'):
        shutil.copy(part, folder)
    return folder / path.name


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def assert_refused(path: Path) -> None:
    with pytest.raises(InputError, match='is cut short or damaged; copy it again, or export it again'):
        read_metadata(path)


def test_a_bit_anywhere_in_onnx(small_onnx, tmp_path):
    check_bits(copied(small_onnx, tmp_path))


def test_a_bit_anywhere_in_openvino(openvino_file):
    check_bits(openvino_file)


def check_bits(path: Path) -> None:
    assert 'checksum' not in read_metadata(path)
    for part in FORMATS[path.suffix.replace('.xml', '.openvino')[1:]].parts(path):
        size = part.stat().st_size
        for at in (0, size - 1, *random.sample(range(size), 3)):
            flip(part, at)
            with pytest.raises(InputError):
                read_metadata(path)
            flip(part, at)
        flip(part, size // 2)
        assert_refused(path)
        flip(part, size // 2)
    assert read_metadata(path)['num_classes'] in (2, 11)


def test_metadata_that_were_edited(small_onnx, tmp_path):
    path = copied(small_onnx, tmp_path)
    for before, after in ((b'"num_classes": 11', b'"num_classes": 19'), (b'"shape": [64, 128]', b'"shape": [63, 128]')):
        content = path.read_bytes()
        assert content.count(before) == 1
        path.write_bytes(content.replace(before, after))
        assert_refused(path)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ('name', 'value', 'text'),
    [
        ('num_classes', 19, 'has wrong metadata: classes is'),
        ('num_classes', 0, "has wrong metadata: num_classes is '0'; export it again"),
        ('format', 'openvino', "has wrong metadata: format is 'openvino'; export it again"),
        ('precision', 'fp64', "has wrong metadata: precision is 'fp64'"),
        ('shape', [64], r"has wrong metadata: shape is '\[64\]'"),
        ('shape', [10**9, 10**9], 'has wrong metadata: shape is'),
        ('dynamic', 'no', "has wrong metadata: dynamic is 'no'"),
        ('output_kind', 'masks', "has wrong metadata: output_kind is 'masks'"),
        ('classes', 11, "has wrong metadata: classes is '11'"),
        ('classes', ['road'] * 11, "has wrong metadata: it names the class 'road' more than once; export it again"),
        ('classes', [*range(11)], 'has wrong metadata: it has classes that are no list of names'),
        ('classes', ['', *map(str, range(10))], "it names a class '', which is blank or has control characters"),
        ('config', 9, "has wrong metadata: config is '9'; export it again"),
        ('device', 9, "has wrong metadata: device is '9'"),
        ('channel_order', 'rgb', "has wrong metadata: channel_order is 'rgb'"),
        ('versions', ['torch'], 'has wrong metadata: versions is'),
        ('references', 9, "has wrong metadata: references is '9'"),
        ('references', [dict(image='')], 'has wrong metadata: references is'),
        ('palette', None, "has wrong metadata: palette is 'None'"),
        ('palette', [[1, 2, 3]], 'has wrong metadata: it has a palette that is no list of'),
        *(
            (name, GONE, f'has wrong metadata: it has no {name}; export it again')
            for name in ('shape', 'classes', 'palette', 'precision', 'format', 'num_classes', 'align_corners')
        ),
    ],
)
def test_wrong_metadata_without_a_checksum(small_onnx, tmp_path, name, value, text):
    onnx = pytest.importorskip('onnx')
    model = onnx.load(small_onnx)
    (item,) = model.metadata_props
    about = json.loads(item.value)
    del about['checksum']
    about[name] = value
    item.value = json.dumps({key: value for key, value in about.items() if value is not GONE})
    onnx.save(model, tmp_path / 'a.onnx')
    with pytest.raises(InputError, match=text):
        load(tmp_path / 'a.onnx')


def test_another_shape_than_that_of_the_graph(fixed_onnx, tmp_path):
    onnx = pytest.importorskip('onnx')
    model = onnx.load(fixed_onnx)
    (item,) = model.metadata_props
    about = json.loads(item.value)
    item.value = json.dumps(about | dict(shape=[96, 128], checksum=UNSEALED))
    onnx.save(model, tmp_path / 'a.onnx')
    seal(FORMATS['onnx'], tmp_path / 'a.onnx')
    with pytest.raises(InputError, match=r'a\.onnx does not run in onnxruntime \(.*\); export it again') as caught:
        load(tmp_path / 'a.onnx')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('suffix', ['.pt2', '.engine'])
def test_metadata_beside_a_file(tmp_path, suffix):
    path = tmp_path / f'net{suffix}'
    path.write_bytes(bytes(100))
    backend = next(backend for backend in FORMATS.values() if backend.suffix == suffix)
    about = ABOUT | dict(format=backend.format, bytes=100)
    write_about(path, about)
    text = beside(path).read_bytes()
    assert text.count(MARK) == 1 and MARK + ZEROS not in text
    assert read_metadata(path) == about
    flip(path, 50)
    assert_refused(path)
    flip(path, 50)
    beside(path).write_bytes(text.replace(b'"b"', b'"c"'))
    assert_refused(path)


def test_a_file_without_a_checksum(small_onnx, tmp_path):
    """Metadata that contradict the graph would change labels without a word."""
    onnx = pytest.importorskip('onnx')
    model = onnx.load(small_onnx)
    (item,) = model.metadata_props
    about = json.loads(item.value)
    del about['checksum']
    for change in (dict(align_corners=True), dict(num_classes=10, classes=[*'abcdefghij'], palette=[]), {}):
        item.value = json.dumps(about | change)
        onnx.save(model, tmp_path / 'a.onnx')
        with pytest.raises(InputError) as caught:
            load(tmp_path / 'a.onnx')
        assert str(caught.value) == (
            f'exported file {tmp_path / "a.onnx"} has no checksum: it was edited, or is of an earlier version; '
            'export it again'
        )
    item.value = json.dumps(about | dict(checksum=MARK.decode()))
    onnx.save(model, tmp_path / 'a.onnx')
    assert_refused(tmp_path / 'a.onnx')


def test_wherever_it_enters(small_onnx, drawn, tmp_path, monkeypatch, capsys):
    path = copied(small_onnx, tmp_path)
    image = next(drawn.rglob('*_leftImg8bit.png'))
    assert load(path)(np.zeros((64, 128, 3), np.uint8)).shape == (64, 128)
    flip(path, path.stat().st_size // 3)
    for call in (load, Predictor):
        with pytest.raises(InputError, match='is cut short or damaged'):
            call(path)
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    monkeypatch.chdir(tmp_path)
    commands = (
        ['verify', path],
        ['predict', image, '--model', path],
        ['test', 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256', path],
    )
    for command in commands:
        assert main([*map(str, command)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f'mmseg-bisenet: error: exported file {path} is cut short or damaged; copy it')
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_weights_in_another_file(small_onnx, tmp_path):
    onnx = pytest.importorskip('onnx')
    model = onnx.load(small_onnx)
    (item,) = model.metadata_props
    item.value = json.dumps(json.loads(item.value) | dict(checksum=UNSEALED))
    for place in ('/tmp/weights.bin', 'none.bin'):
        weight = model.graph.initializer[0]
        weight.data_location = onnx.TensorProto.EXTERNAL
        del weight.external_data[:]
        weight.external_data.add(key='location', value=place)
        (tmp_path / 'a.onnx').write_bytes(model.SerializeToString())
        seal(FORMATS['onnx'], tmp_path / 'a.onnx')
        with pytest.raises(InputError, match=r'a\.onnx cannot be read \(.*\); export it again') as caught:
            read_metadata(tmp_path / 'a.onnx')
        assert '\n' not in str(caught.value)


def test_a_current_folder_that_was_removed_is_no_damage(tmp_path, monkeypatch):
    (tmp_path / 'gone').mkdir()
    monkeypatch.chdir(tmp_path / 'gone')
    (tmp_path / 'gone').rmdir()
    with pytest.raises(InputError, match=r'^the current folder was removed; change to another, and try again$'):
        with reading(tmp_path / 'a.onnx', 'onnxruntime'):
            os.getcwd()
