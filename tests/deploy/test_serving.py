"""The folder for Triton Inference Server and OpenVINO Model Server: its files, as both servers' documentation wants.

``tests/extras/test_examples.py`` starts Triton on such a folder.
"""

import json
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import load, serving
from mmseg_bisenet.deploy.metadata import read_metadata
from mmseg_bisenet.deploy.serving import export_repository
from mmseg_bisenet.errors import InputError

NAME = 'bisenetv2_fcn_1xb8-5k_camvid-light-240x320'
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)


@pytest.fixture(scope='module')
def folder(small_segmentor, tmp_path_factory):
    folder = tmp_path_factory.mktemp('serve') / 'models'
    assert export_repository(small_segmentor, 'fp32', (64, 128), folder) == folder / NAME / '1' / 'model.onnx'
    return folder


def test_both_layouts(folder):
    assert [path.name for path in folder.parent.iterdir()] == ['models']  # nothing temporary is left
    files = {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}
    model = {f'{NAME}/config.pbtxt', f'{NAME}/1/model.onnx'}
    assert files == model | {'config.json', 'README.md', 'client_http.py', 'client_grpc.py'}


def test_the_file_is_verified_as_others_are(folder, capsys):
    assert main(['verify', str(folder / NAME / '1' / 'model.onnx')]) == 0
    assert 'labels  100.000% are those of PyTorch' in capsys.readouterr().out


def test_the_configuration_of_triton(folder):
    assert (folder / NAME / 'config.pbtxt').read_text().splitlines() == [
        f'name: "{NAME}"',
        'backend: "onnxruntime"',
        'max_batch_size: 0',
        'input [ { name: "images" data_type: TYPE_UINT8 dims: [ 1, 64, 128, 3 ] } ]',
        'output [ { name: "labels" data_type: TYPE_UINT8 dims: [ 1, 64, 128 ] } ]',
    ]


def test_the_configuration_of_openvino(folder):
    """OpenVINO reads the file that it names; by default it would compute in bf16 on some processors."""
    openvino = pytest.importorskip('openvino')
    (served,) = json.loads((folder / 'config.json').read_text())['model_config_list']
    config = served['config']
    assert config == dict(name=NAME, base_path=NAME, plugin_config=dict(INFERENCE_PRECISION_HINT='f32'))
    file = folder / config['base_path'] / '1' / 'model.onnx'
    model = openvino.Core().compile_model(file, 'CPU', config['plugin_config'])
    (given,), (found,) = model.inputs, model.outputs
    assert (given.get_any_name(), given.element_type.to_string(), list(given.shape)) == (
        'images',
        'u8',
        [1, 64, 128, 3],
    )
    assert (found.get_any_name(), found.element_type.to_string(), list(found.shape)) == ('labels', 'u8', [1, 64, 128])
    labels = load(file)(IMAGE)
    assert len(np.unique(labels)) > 2
    assert (model(IMAGE[None])['labels'][0] == labels).mean() > 0.9999


def test_files_of_every_size_and_of_other_precisions(folder):
    about = read_metadata(folder / NAME / '1' / 'model.onnx')
    texts = serving._texts('net', about | dict(dynamic=True, precision='int8', palette=[]))
    assert (
        'dims: [ -1, -1, -1, 3 ]' in texts['net/config.pbtxt'] and 'dims: [ -1, -1, -1 ]' in texts['net/config.pbtxt']
    )
    assert json.loads(texts['config.json'])['model_config_list'][0]['config'] == dict(name='net', base_path='net')
    assert 'resize' not in texts['client_http.py'] and '| (N, H, W, 3) |' in texts['README.md']
    assert '| 0 | sky |  |' in texts['README.md']


def test_the_readme_names_classes_and_commands(folder):
    text = (folder / 'README.md').read_text()
    assert 'tritonserver --model-repository .\n' in text
    assert 'ovms --config_path config.json --rest_port 8000 --port 8001\n' in text
    assert '| `images` | UINT8 | (1, 64, 128, 3) |' in text and '| 10 | bicyclist | 0, 128, 192 |' in text


@pytest.mark.parametrize(('protocol', 'address'), [('http', 'localhost:8000'), ('grpc', 'localhost:8001')])
def test_the_clients_send_what_the_file_takes(folder, protocol, address, tmp_path, monkeypatch):
    """With a stand-in for Triton's client, which answers with the file."""
    text = (folder / f'client_{protocol}.py').read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 12
    client = ModuleType(f'tritonclient.{protocol}')
    sent = {}

    class InferInput(SimpleNamespace):
        def __init__(self, name, shape, datatype):
            super().__init__(name=name, shape=shape, datatype=datatype)

        def set_data_from_numpy(self, array):
            self.array = array

    class InferenceServerClient:
        def __init__(self, address):
            sent['address'] = address

        def infer(self, name, inputs):
            sent.update(model=name, **vars(inputs[0]))
            labels = load(folder / NAME / '1' / 'model.onnx')(inputs[0].array)
            return SimpleNamespace(as_numpy=lambda name: dict(labels=labels)[name])

    client.InferInput, client.InferenceServerClient = InferInput, InferenceServerClient
    package = ModuleType('tritonclient')
    setattr(package, protocol, client)
    monkeypatch.setitem(sys.modules, 'tritonclient', package)
    monkeypatch.setitem(sys.modules, client.__name__, client)
    monkeypatch.setattr(sys, 'argv', ['client', str(tmp_path / 'street.png')])
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('street.png', IMAGE)
    exec(compile(text, 'client', 'exec'), {})
    assert (sent['address'], sent['model'], sent['name']) == (address, NAME, 'images')
    assert (sent['datatype'], sent['shape']) == ('UINT8', [1, 64, 128, 3])
    np.testing.assert_array_equal(sent['array'][0], IMAGE)
    labels = load(folder / NAME / '1' / 'model.onnx')(IMAGE)
    np.testing.assert_array_equal(cv2.imread('labels.png', cv2.IMREAD_UNCHANGED), labels)


# -- what is refused ---------------------------------------------------------------------------------------------------


def refusal(options, capsys) -> str:
    assert main(['export', 'bisenetv2_camvid', '--shape', '64', '128', *map(str, options)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_folder_that_exists(small_segmentor, tmp_path, capsys):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'notes').write_text('mine')
    line = refusal(['--serve', tmp_path / 'mine', '--overwrite'], capsys)
    assert line.endswith('--serve replaces no folder; leave --overwrite out')
    line = refusal(['--serve', tmp_path / 'mine'], capsys)
    assert line.endswith(f'{tmp_path / "mine"} exists already; name a new folder with --serve, or remove it')
    with pytest.raises(InputError, match='mine exists already; name a new folder'):
        export_repository(small_segmentor, 'fp32', (64, 128), tmp_path / 'mine')
    assert (tmp_path / 'mine' / 'notes').read_text() == 'mine' and len(list(tmp_path.rglob('*'))) == 2


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--format', 'openvino'], '--serve writes ONNX, which both servers read; leave --format openvino out'),
        (['--output-kind', 'logits'], '--serve writes files that give labels; leave --output-kind logits out'),
        (['--precision', 'bf16'], "format onnx has no precision 'bf16'; choose fp32, fp16, int8"),
    ],
)
def test_what_both_servers_do_not_take(options, text, tmp_path, capsys):
    assert text in refusal(['--serve', tmp_path / 'models', *options], capsys)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert 'is no folder; name another' in refusal(['--serve', tmp_path / 'file' / 'models'], capsys)


def test_a_failed_export_leaves_nothing(small_segmentor, tmp_path):
    with pytest.raises(InputError, match='shape 8 128: give height and width'):
        export_repository(small_segmentor, 'fp32', (8, 128), tmp_path / 'new' / 'models')
    assert [path.name for path in tmp_path.rglob('*')] == ['new']
