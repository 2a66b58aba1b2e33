"""The examples, and Triton on the folder for servers. `make test-extras` runs it in an environment of its own."""

import http.client
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
import uvicorn
from cvat_sdk.auto_annotation import driver
from cvat_sdk.masks import decode_mask
from google.protobuf import text_format
from PIL import Image
from ports import free_ports
from tritonclient.grpc import model_config_pb2

from benchmarks import clients, cluster, kinds
from examples import cvat_function, server
from mmseg_bisenet import Predictor
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.serving import export_repository
from mmseg_bisenet.predict.result import Result

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (64, 96)
SITES = [path for path in sys.path if path.endswith('site-packages')]


def picture(seed: int, height: int = 48, width: int = 80) -> np.ndarray:
    return cv2.resize(np.random.default_rng(seed).integers(0, 256, (6, 10, 3), np.uint8), (width, height))


def encoded(image: np.ndarray, suffix: str = '.png') -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope='module')
def file(small_segmentor, tmp_path_factory) -> Path:
    return export(small_segmentor, 'onnx', 'fp32', SHAPE, tmp_path_factory.mktemp('exported'))


@pytest.fixture(scope='module')
def predictor(file) -> Predictor:
    return Predictor(file)


# -- the folder for servers --------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def repository(small_segmentor, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('serve') / 'models'
    return export_repository(small_segmentor, 'fp32', SHAPE, folder).parents[2]


def test_triton_parses_the_configuration(repository):
    (path,) = repository.glob('*/config.pbtxt')
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == (path.parent.name, 'onnxruntime', 0)
    (images,), (labels,) = config.input, config.output
    assert (images.name, images.data_type, list(images.dims)) == ('images', model_config_pb2.TYPE_UINT8, [1, 64, 96, 3])
    assert (labels.name, labels.data_type, list(labels.dims)) == ('labels', model_config_pb2.TYPE_UINT8, [1, 64, 96])


# Triton's wheel has no backend for ONNX; one may be written in Python (its docs/python_based_backends.md).
BACKEND = """
import os
import numpy as np
import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args):
        file = os.path.join(args['model_repository'], args['model_version'], 'model.onnx')
        self.session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):  # by DLPack, because the wheel was built for NumPy 1
        images = np.from_dlpack(utils.get_input_tensor_by_name(request, 'images'))
        labels = self.session.run(['labels'], {'images': images})[0]
        return utils.InferenceResponse([utils.Tensor.from_dlpack('labels', labels)])
"""


@pytest.fixture(scope='module')
def triton(repository, tmp_path_factory):
    """Triton Inference Server on that folder; its ports by protocol."""
    (wheel,) = (Path(site, 'pytriton') for site in SITES if Path(site, 'pytriton').is_dir())
    home, folder = wheel / 'tritonserver', tmp_path_factory.mktemp('triton')
    backends = folder / 'backends'
    shutil.copytree(home / 'backends', backends)  # Triton follows no links out of it
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    shutil.copy2(home / 'python_backend_stubs' / version / 'triton_python_backend_stub', backends / 'python')
    (backends / 'onnxruntime').mkdir()
    (backends / 'onnxruntime' / 'model.py').write_text(BACKEND)
    ports = dict(zip(('http', 'grpc'), free_ports(2), strict=True))
    options = [f'--{protocol}-{key}={value}' for protocol, port in ports.items() for key, value in
               (('port', port), ('address', '127.0.0.1'))]  # fmt: skip
    libraries = [sysconfig.get_config_var('LIBDIR'), str(wheel.parent / 'nvidia_pytriton.libs')]
    # Its Python finds packages by the first `python3` of PATH.
    paths = dict(PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    paths |= dict(PYTHONPATH=os.pathsep.join(SITES), LD_LIBRARY_PATH=os.pathsep.join(libraries))
    with (folder / 'log').open('w') as log:
        process = subprocess.Popen(
            [home / 'bin' / 'tritonserver', f'--model-repository={repository}', f'--backend-directory={backends}',
             '--allow-metrics=false', '--exit-timeout-secs=2', *options],
            env=os.environ | paths,
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for _ in range(3000):
            time.sleep(0.1)
            log = (folder / 'log').read_text()
            assert process.poll() is None, log[-3000:]
            if 'Started HTTPService' in log:
                break
        else:
            pytest.fail(f'Triton has not started: {log[-3000:]}')
        yield ports
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize('protocol', ['http', 'grpc'])
def test_triton_answers_the_client(triton, repository, protocol, tmp_path):
    image = picture(1)
    cv2.imwrite(str(tmp_path / 'street.png'), image)
    client = (repository / f'client_{protocol}.py').read_text()
    for name, port in dict(http=8000, grpc=8001).items():
        client = client.replace(f'localhost:{port}', f'localhost:{triton[name]}')
    (tmp_path / 'client.py').write_text(client)
    done = subprocess.run([sys.executable, 'client.py', 'street.png'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = repository.glob('*/1/model.onnx')
    labels = load(file)(cv2.resize(image, SHAPE[::-1], interpolation=cv2.INTER_AREA))
    assert len(np.unique(labels)) > 2
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'labels.png'), cv2.IMREAD_UNCHANGED), labels)


@pytest.mark.parametrize(
    ('array', 'datatype', 'text'),
    [
        (np.zeros((1, 64, 64, 3), np.uint8), 'UINT8', 'Expected [1,64,96,3], got [1,64,64,3]'),
        (np.zeros((1, 64, 96, 3), np.float32), 'FP32', "data-type is 'FP32', but model"),
    ],
)
def test_triton_refuses_another_shape_or_type(triton, repository, array, datatype, text):
    from tritonclient.http import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    (name,) = (path.parent.name for path in repository.glob('*/config.pbtxt'))
    images = InferInput('images', list(array.shape), datatype)
    images.set_data_from_numpy(array)
    with pytest.raises(InferenceServerException) as refused:
        InferenceServerClient(f'localhost:{triton["http"]}').infer(name, [images])
    assert text in str(refused.value)


# -- the HTTP server ---------------------------------------------------------------------------------------------------


@contextmanager
def running(app):
    """The port of the application, on loopback."""
    place = server.listen('127.0.0.1', 0)
    runner = uvicorn.Server(uvicorn.Config(app, log_level='critical'))
    thread = threading.Thread(target=runner.run, args=([place],))
    thread.start()
    try:
        yield place.getsockname()[1]
    finally:
        runner.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope='module')
def port(file):
    with running(server.build(str(file))) as port:
        yield port


def post(port: int, path: str, content: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.request('POST', path, content, {'Connection': 'close'})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def detail(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])['detail']


def test_50_clients_get_the_labels_of_the_predictor(port, predictor):
    images = [picture(seed, 40 + seed, 60 + 2 * seed) for seed in range(50)]
    with ThreadPoolExecutor(50) as clients:
        answers = [clients.submit(post, port, '/labels', encoded(image)) for image in images for _ in range(3)]
    for number, answer in enumerate(answers):
        status, content = answer.result()
        assert status == 200
        np.testing.assert_array_equal(decoded(content), predictor(images[number // 3]).labels)


def test_shares_are_those_of_the_predictor(port, predictor):
    status, content = post(port, '/shares', encoded(picture(0), '.bmp'))
    assert status == 200 and json.loads(content) == predictor(picture(0)).share()


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        (b'', 'the upload is empty; give a PNG or JPEG file'),
        (b'GIF', 'the upload is no image of a format that is read; give a PNG or JPEG file'),
        (encoded(picture(0))[:-50], 'the upload cannot be read ('),
        (encoded(np.zeros((4, 80, 3), np.uint8)), 'the upload has 80x4 pixels; a side may be 16 times the other'),
        (encoded(np.zeros((40, 80), np.float32), '.tiff'), 'the upload is a TIFF with bits a sample 32; save it as'),
    ],
)
def test_wrong_uploads_get_one_message(port, content, text):
    status, message = detail(post(port, '/labels', content))
    assert status == 422 and message.startswith(text) and '\n' not in message and 'Traceback' not in message
    assert post(port, '/labels', encoded(picture(0)))[0] == 200


def test_uploads_are_limited(port, monkeypatch):
    """In bytes and in time; the client that sends more still reads the answer."""
    monkeypatch.setattr(server, 'MEGABYTES', 0.5)
    large = bytes(4_000_000)
    assert detail(post(port, '/labels', large)) == (413, 'the upload is larger than 0.5 MB; make the image smaller')
    monkeypatch.setattr(server, 'SECONDS', 0.2)
    with socket.create_connection(('127.0.0.1', port), timeout=30) as slow:
        slow.sendall(b'POST /labels HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf')
        assert b'408 Request Timeout' in slow.recv(1000)
    monkeypatch.setattr(server, 'SECONDS', 60)
    with socket.create_connection(('127.0.0.1', port)) as gone:
        gone.sendall(b'POST /labels HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf')
    assert post(port, '/labels', encoded(picture(0)))[0] == 200


def test_too_many_clients_are_refused_and_none_is_lost(port, predictor, monkeypatch):
    monkeypatch.setattr(server, 'WAITING', 4)
    content = encoded(picture(2, 600, 800))
    with ThreadPoolExecutor(50) as clients:
        answers = [*clients.map(lambda _: post(port, '/labels', content), range(50))]
    labels = [decoded(answer[1]) for answer in answers if answer[0] == 200]
    refused = [detail(answer) for answer in answers if answer[0] != 200]
    assert labels and refused and set(refused) == {(503, '4 requests are waiting already; try again later')}
    for found in labels:
        np.testing.assert_array_equal(found, predictor(picture(2, 600, 800)).labels)


def test_a_fault_of_the_network_is_not_shown(file, monkeypatch):
    class Broken:
        def __init__(self, segment):
            self.segment, self.shape, self.dynamic = segment, SHAPE, False

        def __call__(self, images):
            if not images.any():
                raise RuntimeError('secret')
            return self.segment(images)

    monkeypatch.setattr(server, 'load', lambda file, throughput: Broken(load(file)))
    with running(server.build(str(file))) as port:
        assert post(port, '/labels', encoded(np.zeros((64, 96, 3), np.uint8))) == (500, b'Internal Server Error')
        assert post(port, '/labels', encoded(picture(0)))[0] == 200


def test_the_server_refuses_a_file_for_images_of_any_size(file, monkeypatch, capsys):
    monkeypatch.setattr(server, 'load', lambda file, throughput: SimpleNamespace(dynamic=True))
    assert server.main([str(file), '--port', '0']) == 2
    assert capsys.readouterr().err == (
        f'server: error: {file} was exported with --dynamic, and images run as batches of one size; export without\n'
    )


def test_the_server_needs_no_pytorch(file):
    program = f'import sys; from examples import server; server.build({str(file)!r}); print("torch" in sys.modules)'
    environment = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, '-c', program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'False\n'), done.stderr


def test_the_command_says_in_one_line_what_is_wrong(file, tmp_path, capsys):
    with socket.create_server(('127.0.0.1', 0)) as place:
        port = place.getsockname()[1]
        assert server.main([str(file), '--port', str(port)]) == 2
    assert capsys.readouterr().err == (
        f'server: error: 127.0.0.1:{port} cannot be used (Address already in use); give another --port or --host\n'
    )
    assert server.main(['bisenetv2_camvid', '--port', '0']) == 2
    assert capsys.readouterr().err == (
        'server: error: bisenetv2_camvid is no exported file; write one with mmseg-bisenet export and give its name\n'
    )
    assert server.main([str(tmp_path / 'none.onnx'), '--port', '0']) == 2
    assert capsys.readouterr().err.startswith(f'server: error: exported file {tmp_path / "none.onnx"} does not exist')


def test_the_benchmark_of_clients(file, tmp_path, capsys):
    options = ['--clients', '1', '6', '--requests', '2', '--shape', '64', '96', '--csv', str(tmp_path / 'clients.csv')]
    assert clients.main([str(file), *options]) == 0
    assert '| clients | answered | refused | lost |' in capsys.readouterr().out
    kind, rows = kinds.read(tmp_path / 'clients.csv')
    assert kinds.command(kind, rows) == 'python -m benchmarks.clients FILE --clients 1 6 --requests 2 --shape 64 96'
    assert [(row['answered'], row['refused'], row['lost']) for row in rows] == [('2', '0', '0'), ('12', '0', '0')]
    assert all(0 < float(row['p50_ms']) <= float(row['p99_ms']) for row in rows)
    assert clients.main([str(file), '--clients', '0']) == 2
    assert clients.main([str(tmp_path / 'none.onnx')]) == 2
    assert 'none.onnx does not exist' in capsys.readouterr().err


# -- the robot ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ros(file, monkeypatch):
    """The example on a stand-in for rclpy and sensor_msgs."""

    class Node:
        def __init__(self, name):
            self.logged, self.published, self.subscriptions = [], [], {}

        def declare_parameter(self, name, value):
            return SimpleNamespace(value=str(file))

        def create_publisher(self, kind, topic, depth):
            return SimpleNamespace(publish=lambda message: self.published.append((topic, message)))

        def create_subscription(self, kind, topic, callback, quality):
            self.subscriptions[topic] = callback, quality

        def get_logger(self):
            return SimpleNamespace(error=self.logged.append)

    enums = {name: SimpleNamespace(KEEP_LAST=1, BEST_EFFORT=2) for name in ('HistoryPolicy', 'ReliabilityPolicy')}

    class ExternalShutdownException(Exception):
        pass

    def spin(node):
        node.subscriptions['image'][0](message(picture(3), 'bgr8'))
        assert len(node.published) == 1
        raise ExternalShutdownException  # Ctrl-C

    ended = []
    modules = {
        'rclpy': dict(init=lambda args: None, spin=spin, try_shutdown=lambda: ended.append(True), ended=ended),
        'rclpy.executors': dict(ExternalShutdownException=ExternalShutdownException),
        'rclpy.node': dict(Node=Node),
        'rclpy.qos': dict(QoSProfile=SimpleNamespace, **enums),
        'sensor_msgs': {},
        'sensor_msgs.msg': dict(Image=SimpleNamespace),
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, 'examples.ros2_node', raising=False)
    yield importlib.import_module('examples.ros2_node')
    sys.modules.pop('examples.ros2_node')


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> SimpleNamespace:
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)), constant_values=7)
    header = SimpleNamespace(stamp=(12, 34), frame_id='camera')
    size = dict(height=pixels.shape[0], width=pixels.shape[1], step=rows.shape[1])
    return SimpleNamespace(header=header, encoding=encoding, data=rows.tobytes(), is_bigendian=0, **size)


def test_the_node_publishes_labels_of_the_newest_image(ros, predictor):
    node = ros.Labels()
    receive, quality = node.subscriptions['image']
    assert vars(quality) == dict(history=1, depth=1, reliability=2)  # keeps the newest of those that wait
    sent = message(picture(3), 'bgr8', padding=5)
    receive(sent)
    ((topic, labels),) = node.published
    assert (topic, labels.encoding, labels.height, labels.width, labels.step) == ('labels', 'mono8', 48, 80, 80)
    assert labels.header is sent.header and labels.is_bigendian == 0
    found = np.frombuffer(labels.data, np.uint8).reshape(48, 80)
    np.testing.assert_array_equal(found, predictor(picture(3)).labels)


def test_the_node_runs_until_it_is_stopped(ros, file, monkeypatch, capsys):
    assert ros.main() == 0 and ros.rclpy.ended == [True]
    monkeypatch.setattr(ros, 'Predictor', lambda model: Predictor(file.with_name('none.onnx')))
    assert ros.main() == 2 and ros.rclpy.ended == [True, True]
    assert capsys.readouterr().err.startswith(f'ros2_node: error: exported file {file.with_name("none.onnx")} does not')


@pytest.mark.parametrize(
    ('encoding', 'conversion'),
    [
        ('rgb8', cv2.COLOR_BGR2RGB),
        ('rgba8', cv2.COLOR_BGR2RGBA),
        ('bgra8', cv2.COLOR_BGR2BGRA),
    ],
)
def test_the_node_takes_other_encodings(ros, encoding, conversion):
    pixels = cv2.cvtColor(picture(4), conversion)
    np.testing.assert_array_equal(ros.to_bgr(message(pixels, encoding, padding=3)), picture(4))
    grey = picture(4)[..., 0]
    np.testing.assert_array_equal(ros.to_bgr(message(grey, 'mono8')), np.stack([grey] * 3, -1))


def test_the_node_goes_on_after_a_wrong_image(ros):
    node = ros.Labels()
    receive, _ = node.subscriptions['image']
    short = message(picture(3), 'bgr8')
    short.data = short.data[:-1]
    for wrong in (message(picture(3), '16UC1'), short):
        receive(wrong)
    assert node.logged[0].startswith("image of encoding '16UC1': publish one of bgr8, rgb8")
    assert node.logged[1].startswith('image of 80x48 in bgr8: 11519 bytes and a step of 240 do not fit')
    receive(message(picture(3), 'bgr8'))
    assert len(node.logged) == 2 and len(node.published) == 1


# -- the cluster -------------------------------------------------------------------------------------------------------


def start_ray(source: Path, output: Path, file: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / 'examples' / 'ray_folder.py', source, output, '--model', file, '--workers', '2'],
        env=os.environ | dict(PYTHONPATH=str(ROOT), RAY_USAGE_STATS_ENABLED='0', RAY_DEDUP_LOGS='0'),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_folder_is_labelled_although_a_worker_dies(file, predictor, tmp_path):
    """Every image once; a broken one is named; a second run labels only what is missing."""
    source, output = tmp_path / 'frames', tmp_path / 'labelled'
    (source / 'inner').mkdir(parents=True)
    names = [f'{number}.png' for number in range(200)] + [f'inner/{number}.jpg' for number in range(60)]
    for seed, name in enumerate(names):
        cv2.imwrite(str(source / name), picture(seed % 7, 96, 160))
    (source / 'broken.png').write_bytes(b'PNG')
    process = start_ray(source, output, file)
    try:
        killed, end = 0, time.monotonic() + 300
        while process.poll() is None and not killed and time.monotonic() < end:
            if len(list(output.glob('*.png'))) > 10:
                killed = cluster.labellers(process.pid)[0]
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.02)
        out, err = process.communicate(timeout=300)
    finally:
        process.terminate()  # ends its Ray too
        process.wait(30)
    assert killed and process.returncode == 1, err[-3000:]
    lines = out.splitlines()
    assert lines[0] == '261 images, 0 of them have labels'
    assert lines[-2:] == [
        f'{source}/broken.png is no image of a format that is read; give a PNG or JPEG file',
        '260 images labelled, 1 refused',
    ]
    written = {path.relative_to(output).as_posix() for path in output.rglob('*') if path.is_file()}
    assert written == {f'{name}.png' for name in names}
    for name in names[::40]:
        labels = cv2.imread(str(output / f'{name}.png'), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels, predictor(source / name).labels)
    (source / 'broken.png').unlink()
    kept = (output / '1.png.png').stat().st_mtime_ns
    (output / '0.png.png').unlink()
    process = start_ray(source, output, file)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0, err[-3000:]
    assert out.splitlines()[:: len(out.splitlines()) - 1] == [
        '260 images, 259 of them have labels',
        '1 images labelled, 0 refused',
    ]
    assert (output / '0.png.png').is_file() and (output / '1.png.png').stat().st_mtime_ns == kept


def test_the_benchmark_of_the_cluster(file, tmp_path, monkeypatch, capsys):
    """Ray is the loop of one process here: the test above runs it."""
    monkeypatch.setattr(cluster, 'with_ray', lambda file, source, output, *_: cluster.one_process(file, source, output))
    options = ['--images', '20', '--shape', '64', '96', '--csv', str(tmp_path / 'cluster.csv')]
    assert cluster.main([str(file), *options]) == 0
    kind, rows = kinds.read(tmp_path / 'cluster.csv')
    assert kinds.command(kind, rows) == 'python -m benchmarks.cluster FILE --images 20 --shape 64 96 --workers 2'
    assert [(row['labelled'], row['same']) for row in rows] == [('20', '20')] * 3
    assert [row['method'] for row in rows] == ['one process', 'Ray, 2 workers', 'Ray, 2 workers, one killed']
    assert cluster.main([str(file), '--images', '1']) == 2
    assert '--images and --workers: give 20 images or more' in capsys.readouterr().err


# -- CVAT --------------------------------------------------------------------------------------------------------------


def annotated(labels: np.ndarray, monkeypatch, **options) -> list:
    """What `annotate_task` of CVAT's SDK uploads for a task of one image, whose labels are those."""
    classes = ('road', 'car', 'sky')
    predict = MagicMock(
        classes=classes, return_value=Result(np.zeros((*labels.shape, 3), np.uint8), labels, classes, [(0, 0, 0)] * 3)
    )
    monkeypatch.setattr(cvat_function, 'Predictor', lambda model: predict)
    image = Image.new('RGB', labels.shape[::-1])
    sample = SimpleNamespace(frame_index=5, frame_name='a.png', media=SimpleNamespace(load_image=lambda: image))
    own = [SimpleNamespace(id=10 + index, name=name, type='any', attributes=[], sublabels=[]) for index, name in
           enumerate(classes)]  # fmt: skip
    monkeypatch.setattr(driver, 'TaskDataset', lambda *_, **__: SimpleNamespace(labels=own, samples=[sample]))
    client = MagicMock()
    driver.annotate_task(client, 1, cvat_function.create(), **options)
    predict.assert_called_once_with(image)
    ((_, sent),) = client.tasks.api.partial_update_annotations.call_args_list
    shapes = sent['patched_labeled_data_request'].shapes
    assert {(shape.frame, shape.source) for shape in shapes} == {(5, 'auto')}
    return shapes


NESTED = np.zeros((40, 60), np.uint8)
NESTED[5:35, 5:50], NESTED[10:30, 10:40], NESTED[15:20, 12:30] = 1, 2, 0


def test_cvat_gets_a_mask_for_each_class(monkeypatch):
    shapes = annotated(NESTED, monkeypatch)
    assert [(shape.type.value, shape.label_id) for shape in shapes] == [('mask', 10), ('mask', 11), ('mask', 12)]
    for index, shape in enumerate(shapes):
        mask = decode_mask(shape.points, image_width=60, image_height=40)
        np.testing.assert_array_equal(mask, NESTED == index)


def test_cvat_gets_polygons_that_draw_the_labels(monkeypatch):
    shapes = annotated(NESTED, monkeypatch, conv_mask_to_poly=True)
    drawn = np.full_like(NESTED, 255)
    for shape in sorted(shapes, key=lambda shape: shape.z_order):
        assert shape.type.value == 'polygon'
        cv2.fillPoly(drawn, [np.reshape(shape.points, (-1, 2)).astype(int)], shape.label_id - 10)
    np.testing.assert_array_equal(drawn, NESTED)


# -- the notebook ------------------------------------------------------------------------------------------------------


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    import nbformat

    notebook = nbformat.read(ROOT / 'examples' / 'predict.ipynb', as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get('outputs') for cell in notebook.cells)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('street.jpg', picture(0, 90, 160))
    names: dict = {}
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            exec(compile(cell.source, 'predict.ipynb', 'exec'), names)
    assert names['result'].labels.shape == (90, 160)
    shares = [float(line.partition('%')[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(shares) == 11 and shares == sorted(shares, reverse=True) and 99 < sum(shares) < 101
    np.testing.assert_array_equal(cv2.imread('street_labels.png', cv2.IMREAD_UNCHANGED), names['result'].labels)
    assert cv2.imread('street_overlay.png').shape == (90, 160, 3)
