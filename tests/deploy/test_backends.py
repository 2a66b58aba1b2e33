"""Each runtime of the list does what ``deploy/backends/base.py`` asks for. A new one adds a row to ``PRECISIONS``."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from base import randomise
from deploy.about import ABOUT, write_about
from small import shrunk
from torch import nn

import mmseg_bisenet
from mmseg_bisenet import install
from mmseg_bisenet.deploy import load, packages, predictor, verify
from mmseg_bisenet.deploy.backends import BACKENDS, FORMATS, RUNTIMES, FileBackend, base, litert, require
from mmseg_bisenet.deploy.export import export, write
from mmseg_bisenet.deploy.graph import Graph, Named, Planes, contiguous
from mmseg_bisenet.deploy.metadata import SUFFIXES, UNSEALED, read
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.deploy.packages import installation
from mmseg_bisenet.deploy.precision import NAMES
from mmseg_bisenet.deploy.references import NEEDED
from mmseg_bisenet.errors import InputError

CONFIG = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
SHAPE = (64, 128)
# A row a runtime: what it computes in, and what its files may be in.
PRECISIONS = dict(
    eager=('fp32', ''),
    torch=('fp32 bf16 fp16', ''),
    compile=('fp32 bf16 fp16', ''),
    onnxruntime=('fp32 int8', 'fp32 fp16 int8'),
    openvino=('fp32 bf16 fp16 int8', 'fp32 bf16 fp16 int8'),
    vnni=('int8', 'int8'),
    pt2=('fp32 bf16 fp16', 'fp32 bf16 fp16'),
    tensorrt=('fp32 bf16 fp16 int8', 'fp32 bf16 fp16 int8'),
    litert=('fp32 fp16 int8', 'fp32 fp16 int8'),
    executorch=('fp32', 'fp32'),
    ncnn=('fp32', 'fp32'),
)
RUNTIME = os.environ.get('RUNTIME', '')  # of the environment, where `make test-extras` runs
if RUNTIME:  # imports change environment variables, as no test may
    packages.require_packages(*RUNTIMES[RUNTIME].needs(quantized=True))
FILES = [backend for backend in BACKENDS if isinstance(backend, FileBackend)]
by_name = pytest.mark.parametrize('backend', BACKENDS, ids=lambda backend: backend.name)
by_format = pytest.mark.parametrize('backend', FILES, ids=lambda backend: backend.name)


@pytest.fixture(scope='module')
def segmentor():
    torch.manual_seed(0)
    return randomise(shrunk(mmseg_bisenet.get_model(CONFIG)))


@pytest.fixture(scope='module')
def images() -> np.ndarray:
    """(2, *SHAPE, 3), of smooth colours."""
    rng = np.random.RandomState(0)
    return np.stack([cv2.resize(rng.randint(0, 256, (4, 8, 3), np.uint8), SHAPE[::-1]) for _ in range(2)])


def skip_unless_it_runs(backend) -> torch.device:
    """The device that it runs on; the test is skipped if this machine lacks it, a package or a compiler.

    RUNTIME has to run.
    """
    device = torch.device(backend.devices[0])
    try:
        require(backend.name, backend.precisions[0], device)
        backend.require_build(backend.precisions[0], device)
    except InputError as error:
        if backend.name == RUNTIME:
            raise
        pytest.skip(str(error))
    return device


# -- what it declares --------------------------------------------------------------------------------------------------


def test_the_list_and_the_rows():
    assert list(RUNTIMES) == [backend.name for backend in BACKENDS] == list(PRECISIONS)
    assert list(FORMATS) == list(SUFFIXES) == [backend.format for backend in FILES]
    assert len({backend.suffix for backend in FILES}) == len(FILES)


def test_labels_are_made_in_the_threads_that_computed_the_logits(monkeypatch):
    """OpenMP's threads spin for a while after each layer, which other threads would wait for."""
    given = []
    monkeypatch.setattr(predictor, 'upsample_argmax', lambda *args: given.append(args[-1]))
    metadata = dict(precision='fp32', shape=SHAPE, dynamic=False, classes='ab', num_classes=2, palette=None)
    arrays = [backend for backend in BACKENDS if not backend.needs_torch]
    for backend in arrays:
        engine = predictor.Predictor(np.zeros_like, backend, metadata | dict(align_corners=False))
        engine.labels(np.zeros((1, 2, 8, 16), np.float32), SHAPE)
    assert given == [backend.name == 'vnni' for backend in arrays]


@by_name
def test_what_it_declares(backend):
    computes, written = (tuple(text.split()) for text in PRECISIONS[backend.name])
    assert backend.precisions == computes
    assert set(computes) <= set(NAMES) and set(backend.devices) <= {'cpu', 'cuda'} and backend.devices
    assert set(backend.packages) <= set(backend.needs(quantized=False)) <= set(backend.needs(quantized=True))
    if isinstance(backend, FileBackend):
        assert backend.written_in == written
        assert set(computes) <= set(written)
        more = set(backend.needs(quantized=True)) - set(backend.needs(quantized=False))
        assert more == (set(backend.quantize_packages) if 'int8' in written else set())
        assert set(backend.weights_only) <= set(computes) and set(backend.output_kinds) <= {'labels', 'logits'}
        assert backend.suffix.startswith('.')
    else:
        assert not written


@by_name
def test_what_it_lacks_is_refused(backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for device in {'cpu', 'cuda'} - set(backend.devices):
        with pytest.raises(InputError, match=rf"{backend.name} does not run on device '{device}'; give device="):
            backend.require_machine('fp32', torch.device(device))
    if 'cuda' in backend.devices:
        with pytest.raises(InputError, match='PyTorch sees no GPU'):
            backend.require_machine('fp32', torch.device('cuda'))
    monkeypatch.setattr('mmseg_bisenet.deploy.precision.cpu_has', lambda name: name == 'fp32')
    lacking = [name for name in backend.precisions[1:] if name not in backend.weights_only]
    for name in lacking if 'cpu' in backend.devices else ():
        with pytest.raises(InputError, match=f'precision {name}: this CPU has no instructions for it; choose fp32'):
            backend.require_machine(name, torch.device('cpu'))


def test_threads_without_pytorch(monkeypatch, tmp_path):
    """As many as PyTorch uses; without it what OMP_NUM_THREADS says, or one a core."""
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 7)
    assert base.default_threads() == 7
    monkeypatch.delitem(sys.modules, 'torch')
    monkeypatch.setenv('OMP_NUM_THREADS', '3')
    assert base.default_threads() == 3
    monkeypatch.delenv('OMP_NUM_THREADS')
    monkeypatch.setattr(base.os, 'sched_getaffinity', lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(base, 'Path', lambda path: tmp_path / path.split('/')[5])
    assert base.default_threads() == 4  # nothing is known of their cores
    for number, siblings in enumerate(['0-1', '0-1', '2-3', '2-3']):
        (tmp_path / f'cpu{number}').write_text(siblings)
    assert base.default_threads() == 2


def test_the_command_that_installs_packages():
    extra = install.command('export')
    assert installation(['onnx', 'onnxruntime']) == extra
    assert installation(['onnx', 'tensorrt']) == f'{extra} tensorrt'
    assert installation(['tensorrt']) == 'pip install tensorrt'
    for runtime in ('litert', 'executorch', 'ncnn'):
        assert installation(RUNTIMES[runtime].needs(quantized=True)) == install.command(runtime)


def test_the_command_without_pytorch(monkeypatch):
    """The extra `export` would bring what writes files too."""
    monkeypatch.setattr(packages, 'is_installed', lambda name: False)
    assert installation(['onnxruntime', 'onnx']) == 'pip install onnxruntime onnx'


@by_format
def test_options_that_a_format_does_not_have(backend, segmentor, tmp_path):
    arguments = segmentor, backend.format, backend.written_in[0], SHAPE, tmp_path
    if not backend.keeps_float:
        with pytest.raises(InputError, match=f'format {backend.format} has all convolutions in int8; leave --keep-f'):
            export(*arguments, keep_float=['decode_head'])
    if not backend.free_shapes:
        with pytest.raises(InputError, match=f'format {backend.format} takes images of one shape; leave --dynamic out'):
            export(*arguments, dynamic=True)
    for kind in {'labels', 'logits'} - set(backend.output_kinds):
        with pytest.raises(InputError, match=f'format {backend.format} has no {kind}; take --output-kind '):
            export(*arguments, output_kind=kind)


def test_the_parts_of_a_file_with_metadata_beside_it(tmp_path):
    path = tmp_path / 'net.param'
    weights = tmp_path / 'net.param.bin'
    assert RUNTIMES['ncnn'].parts(path) == [path, weights]
    path.write_bytes(bytes(10))
    weights.write_bytes(bytes(20))
    about = ABOUT | dict(format='ncnn')
    base.write_beside([path, weights], about)
    write_about(path, json.loads(base.beside(path).read_text()))
    assert read(path).metadata == about | dict(bytes=30)
    weights.write_bytes(bytes(19))
    with pytest.raises(InputError, match=r'net.param.json is cut short or damaged; copy it again'):
        read(path)
    weights.unlink()
    with pytest.raises(InputError, match=r'net.param lacks net.param.bin beside it'):
        read(path)


# -- what it does ------------------------------------------------------------------------------------------------------


def needed(backend) -> float:
    """Share of labels that must be right in the first of its precisions."""
    return 1 if backend.precisions[0] == 'fp32' else NEEDED[backend.precisions[0]]


def export_first(segmentor: nn.Module, backend: FileBackend, folder: Path) -> Path:
    """A file in the first of its precisions."""
    precision, rng = backend.written_in[0], np.random.RandomState(1)
    colours = [cv2.resize(rng.randint(0, 256, (4, 8, 3), np.uint8), SHAPE[::-1]) for _ in range(10)]
    options = dict(calibration=colours) if precision == 'int8' else {}
    return export(segmentor, backend.format, precision, SHAPE, folder, **options)


@pytest.fixture(scope='module')
def file_of(segmentor, tmp_path_factory) -> Callable[[FileBackend], tuple[Path, dict]]:
    """A file of each format that runs here, exported once, and the metadata that it was given."""
    done, written = {}, []

    def kept(*args, **options):
        written.append(write(*args, **options))
        return written[-1]

    def file_of(backend: FileBackend) -> tuple[Path, dict]:
        if backend.name not in done:
            segmentor.to(backend.devices[0] if backend.traced_on_device else 'cpu')
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr('mmseg_bisenet.deploy.export.write', kept)
                path = export_first(segmentor, backend, tmp_path_factory.mktemp(backend.name))
            segmentor.to('cpu')
            done[backend.name] = path, written[-1][0].metadata
        return done[backend.name]

    return file_of


@by_name
def test_it_gives_the_labels_of_the_network(backend, segmentor, images, file_of):
    device = skip_unless_it_runs(backend)
    if isinstance(backend, FileBackend):  # `test_runtimes.py` loads a segmentor by some of these
        segment = load(file_of(backend)[0], device=device)
    else:
        segment = load(segmentor, runtime=backend.name, shape=SHAPE, device=device)
    assert (segment.runtime, segment.dynamic) == (backend.name, backend.any_shape)
    about = dict(output_kind='labels', precision=segment.precision)
    assert verify.compare(segment, DeployNetwork(segmentor), [images], about)[1] >= needed(backend)


@by_format
def test_its_file_is_written_read_opened_and_run(backend, file_of, segmentor, images):
    device = skip_unless_it_runs(backend)
    path, _ = file_of(backend)
    assert path.suffix == backend.suffix
    assert {*path.parent.iterdir()} - {base.beside(path)} == {*backend.parts(path)}
    exported = read(path)
    metadata = exported.metadata
    assert metadata.get('device') == (device.type if backend.traced_on_device else None)
    assert exported.backend is backend and exported.path == path
    assert (metadata['format'], metadata['shape'], metadata['config']) == (backend.format, list(SHAPE), CONFIG)
    assert set(backend.needs(quantized=False)) < set(metadata['versions'])
    network = DeployNetwork(segmentor)
    segment = load(path, device=device)
    with ThreadPoolExecutor(4) as pool:  # any number of threads may call an engine
        found = list(pool.map(segment, [images[0], images[1]] * 4))
    for k, labels in enumerate(found):
        np.testing.assert_array_equal(labels, segment(images[k % 2]))
    assert verify.compare(segment, network, [images], metadata | dict(output_kind='labels'))[1] >= needed(backend)
    batches = [images[:1], images[1:]]
    assert verify.compare(backend.run_plainly(exported, device), network, batches, metadata)[1] >= needed(backend)


@by_format
def test_loading_reads_and_opens_a_file_once(backend, segmentor, tmp_path, monkeypatch):
    """And from a config: it is written once, opened once, and never read."""
    calls = []

    def counted(name, result):
        monkeypatch.setattr(backend, name, lambda *args, **kwargs: calls.append(name) or result)

    def engine(images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 19, 8, 16)

    precision = backend.precisions[0]
    about = dict(format=backend.format, precision=precision, shape=SHAPE, checksum=UNSEALED)
    counted('read', (json.dumps(ABOUT | about), None))
    counted('open', engine)
    counted('write', None)
    for name in ('require_machine', 'require_build'):
        monkeypatch.setattr(backend, name, lambda *_: None)
    monkeypatch.setattr(verify, 'require', lambda *_: calls.append('verify'))
    path = tmp_path / f'net{backend.suffix}'
    path.touch()
    load(path)
    assert calls == ['read', 'open']
    calls.clear()
    images = [np.eye(*SHAPE, dtype=np.uint8)[..., None].repeat(3, 2)] * 10 if precision == 'int8' else []
    load(segmentor, runtime=backend.name, precision=precision, shape=SHAPE, calibration=images)
    assert calls == ['write', 'open', 'verify']


@by_format
def test_a_file_that_is_damaged(backend, file_of, tmp_path):
    skip_unless_it_runs(backend)
    whole, described = file_of(backend)
    found = read(whole).metadata
    found.pop('bytes', None)  # only beside a file
    assert found == described
    for part in whole.parent.iterdir():
        shutil.copy(part, tmp_path)
    path = tmp_path / whole.name
    for part in backend.parts(path):
        content = part.read_bytes()
        part.write_bytes(content[:-100])
        with pytest.raises(InputError, match='cut short'):
            read(path)
        part.write_bytes(content)
    assert read(path).metadata['precision'] == backend.precisions[0]


def test_graphs_as_converters_take_them(segmentor, images):
    graph = Graph(DeployNetwork(segmentor), labels=True)
    pixels = torch.from_numpy(images)
    plain = contiguous(graph)
    assert all(weight.is_contiguous() for weight in plain.parameters())
    with torch.no_grad():
        labels, logits = graph(pixels)
        (named,) = Named(plain)(pixels).items()
        assert named[0] == 'labels' and (named[1] == labels).all()
        graph.labels = False
        assert list(Named(graph)(pixels)) == ['logits']
        torch.testing.assert_close(Planes(graph)(pixels.permute(0, 3, 1, 2).float()), logits, rtol=0, atol=0)


def test_tensors_of_modules_in_litert():
    """litert-torch names them after the modules that are called, which a list of modules is not."""
    tree = nn.Module()
    tree.backbone = nn.Module()
    tree.backbone.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())])
    tree.decode_head = nn.Conv2d(8, 2, 1)
    (found,) = litert._tensors(tree, ['backbone.stages.0.0'])
    named = 'p.Graph_whole/p.DeployNetwork_network/torch.nn.modules.module.Module_backbone/'
    named += 'torch.nn.modules.container.Sequential_0/torch.nn.modules.'
    assert re.search(found, f'{named}activation.ReLU_1;;{named}conv.Conv2d_0;1')
    assert not re.search(found, f'{named}conv.Conv2d_01;1')
    assert len(litert._tensors(tree, ['backbone.*'])) == 4 and litert._tensors(tree, []) == []
    with pytest.raises(InputError, match=r'--keep-float neck names no module of the network; they go from backbone to'):
        litert._tensors(tree, ['neck'])


def test_only_declared_packages_are_imported():
    """The list itself imports none of the packages of an extra."""
    names = sorted({name for backend in BACKENDS for name in backend.needs(quantized=True)})
    code = f'import sys; import mmseg_bisenet.deploy.backends; print([n for n in {names} if n in sys.modules])'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = result.stdout.strip().splitlines()[-1]
    assert loaded == '[]'
