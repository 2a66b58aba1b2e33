"""`web` before the page: what is offered, and what is refused without Gradio. `tests/extras` opens the page."""

import socket
import sys

import cv2
import pytest

from mmseg_bisenet.cli import main, web
from mmseg_bisenet.predict import model


@pytest.fixture
def loaded(monkeypatch) -> list:
    """The arguments of the predictors that are made."""
    calls = []
    monkeypatch.setattr('mmseg_bisenet.predict.Predictor', lambda *names, **options: calls.append((*names, options)))
    return calls


def test_a_model_is_offered_in_each_runtime_and_the_fastest_is_loaded(loaded, monkeypatch):
    monkeypatch.setattr(model, 'installed', lambda: ['openvino', 'onnxruntime'])
    load = web.choices(['bisenetv2_camvid', 'bisenetv2_camvid'])
    assert list(load) == ['bisenetv2_camvid, openvino', 'bisenetv2_camvid, onnxruntime']
    assert loaded == [('bisenetv2_camvid', dict(runtime='openvino'))]
    for name in [*load] * 2:
        load[name]()
    assert loaded[1:] == [('bisenetv2_camvid', dict(runtime='onnxruntime'))]  # each is loaded once


def test_an_exported_file_is_offered_by_its_name(loaded, tmp_path):
    path = tmp_path / 'net.onnx'
    path.touch()
    assert list(web.choices([str(path)])) == ['net.onnx']
    assert loaded == [(str(path), {})]


@pytest.mark.parametrize(
    'arguments, reason',
    [
        (['--port', '0'], '--port 0: give a number from 1 to 65535'),
        (['--port', '70000'], '--port 70000: give a number from 1 to 65535'),
        (['--host', 'no.host.invalid'], 'no.host.invalid:7860 cannot be served on ('),
        (['--model', 'none.onnx'], 'exported file none.onnx does not exist; write it with mmseg-bisenet export'),
        (['--model', 'bisenetv2_camvit'], 'config bisenetv2_camvit is neither a file nor the name of a config in '),
        (['--model', 'a/net.onnx', 'b/net.onnx'], '--model b/net.onnx: another model is called net.onnx too; rename'),
    ],
)
def test_what_is_refused(loaded, tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    for folder in 'ab':
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'net.onnx').touch()
    if '--model' in arguments:
        monkeypatch.setattr(web, 'require_port', lambda *_: None)
    assert main(['web', *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'mmseg-bisenet: error: {reason}')


def test_a_port_in_use(capsys):
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        assert main(['web', '--port', str(port)]) == 2
    reason = 'cannot be served on (Address already in use); give another --port or --host'
    assert capsys.readouterr().err == f'mmseg-bisenet: error: 127.0.0.1:{port} {reason}\n'


def test_a_model_that_is_not_needs_no_other_package(monkeypatch, capsys):
    monkeypatch.setattr(web, 'require_port', lambda *_: None)
    monkeypatch.delitem(sys.modules, 'mmseg_bisenet.cli.options', raising=False)
    monkeypatch.setitem(sys.modules, 'mmengine', None)
    assert main(['web', '--model', 'nope']) == 2
    assert 'error: config nope is neither a file nor the name of a config in ' in capsys.readouterr().err


def test_without_gradio(loaded, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    monkeypatch.setattr(web, 'require_port', lambda *_: None)
    monkeypatch.setattr(web.os, 'environ', dict(web.os.environ))
    assert main(['web']) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        'mmseg-bisenet: error: mmseg-bisenet web needs gradio, which is not installed; run: pip install'
    )
    assert '[web]' in err and err.count('\n') == 1


def test_the_streets_to_try(tmp_path):
    pictures = [cv2.imread(str(path)) for path in web.draw_streets(tmp_path)]
    assert [picture.shape for picture in pictures] == [(360, 640, 3)] * 3
    assert len({picture.tobytes() for picture in pictures}) == 3
