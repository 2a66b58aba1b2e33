"""Every runtime against the eager segmentor: same labels, but where two classes are as good as each other."""

import copy
import ctypes
import json
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from base import build, randomise, replace_sync_bn
from deploy.about import ABOUT, write_about
from mmengine.config import Config
from mmseg.structures import SegDataSample
from torch import nn

import mmseg_bisenet
from mmseg_bisenet import install, model_index
from mmseg_bisenet.benchmark.memory import resident_bytes
from mmseg_bisenet.deploy import building, load, loading, precision
from mmseg_bisenet.deploy.backends import FORMATS
from mmseg_bisenet.deploy.backends import torch as torch_backend
from mmseg_bisenet.deploy.backends.compile import require_compiler
from mmseg_bisenet.deploy.metadata import MARK, ZEROS, seal
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.deploy.winograd import layer
from mmseg_bisenet.errors import InputError

CONFIG = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
SHAPE = (64, 128)
# What rounding may take from the best class, where logits have a deviation of 1; and the share of pixels that change.
TIES = dict(fp32=(1e-4, 1e-3), bf16=(0.5, 0.1))


@pytest.fixture(scope='module')
def images() -> np.ndarray:
    """(3, *SHAPE, 3), of smooth colours."""
    rng = np.random.RandomState(0)
    return np.stack([cv2.resize(rng.randint(0, 256, (4, 8, 3), np.uint8), SHAPE[::-1]) for _ in range(3)])


@pytest.fixture(scope='module')
def segmentor(images) -> nn.Module:
    """Random weights, and logits of mean 0 and deviation 1 in every class, so that each wins somewhere."""
    segmentor = randomise(mmseg_bisenet.get_model(CONFIG))
    classifier = segmentor.decode_head.conv_seg
    with torch.no_grad():
        logits = DeployNetwork(segmentor)(torch.from_numpy(images))
        mean, deviation = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
        classifier.weight /= deviation[:, None, None, None]
        classifier.bias.sub_(mean).div_(deviation)
    return segmentor


@pytest.fixture(scope='module')
def logits(segmentor, images) -> np.ndarray:
    """(3, 19, *SHAPE), of the segmentor."""
    segmentor = copy.deepcopy(segmentor)
    segmentor.test_cfg.keep_logits = True
    with torch.no_grad():
        return np.stack([sample.seg_logits.data for sample in segmentor.test_step(packed(images))])


@pytest.fixture(scope='module')
def files(segmentor, tmp_path_factory) -> dict[str, Path]:
    """Exported files that give labels, by format. What `load` exports itself gives logits."""
    pytest.importorskip('openvino')
    pytest.importorskip('onnxscript')
    from mmseg_bisenet.deploy.export import export

    folder = tmp_path_factory.mktemp('files')
    return {format: export(segmentor, format, 'fp32', SHAPE, folder) for format in ('onnx', 'openvino')}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The process's number, which `load` sets, as it was before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def needs_compiler() -> None:
    try:
        require_compiler()
    except InputError as error:
        pytest.skip(str(error))


def packed(images: np.ndarray) -> dict:
    """A batch as the test pipeline packs it."""
    metas = dict(img_shape=SHAPE, ori_shape=SHAPE)
    return dict(
        inputs=[torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images],
        data_samples=[SegDataSample(metainfo=metas) for _ in images],
    )


def assert_same_but_for_ties(labels: np.ndarray, logits: np.ndarray, precision: str = 'fp32') -> None:
    assert labels.dtype == np.uint8
    assert labels.shape == (*logits.shape[:-3], *logits.shape[-2:])
    lost = logits.max(-3) - np.take_along_axis(logits, labels[..., None, :, :], axis=-3)[..., 0, :, :]
    gap, share = TIES[precision]
    assert lost.max() <= gap
    assert np.count_nonzero(lost) <= share * lost.size


# -- labels ------------------------------------------------------------------------------------------------------------


def test_eager_equals_stock(segmentor, images, stock_configs):
    cfg = Config.fromfile(stock_configs / f'bisenetv2/{CONFIG}.py').model
    replace_sync_bn(cfg)
    stock = build(cfg | dict(auxiliary_head=None)).eval()
    stock.load_state_dict(segmentor.state_dict())
    with torch.no_grad():
        samples = stock.test_step(packed(images))
    assert len(np.unique([sample.pred_sem_seg.data for sample in samples])) == 19
    expected = np.stack([sample.seg_logits.data for sample in samples])
    segment = load(segmentor, shape=SHAPE)
    assert_same_but_for_ties(segment(images), expected)
    assert_same_but_for_ties(segment(images[0]), expected[0])
    assert segment(images[0, :31, :45]).shape == (31, 45)


@pytest.mark.parametrize('computed_in', ['fp32', 'bf16'])
def test_torch_gives_the_labels_of_eager(segmentor, images, logits, computed_in):
    if not precision.cpu_has(computed_in):
        pytest.skip(f'no {computed_in} in this CPU')
    segment = load(segmentor, runtime='torch', precision=computed_in, shape=SHAPE)
    assert_same_but_for_ties(segment(images), logits, computed_in)
    assert_same_but_for_ties(segment(images[0]), logits[0], computed_in)
    assert segment(images[0, :31, :45]).shape == (31, 45)


def test_winograd_where_fewer_products_in_float32_pay(monkeypatch, segmentor, images):
    pytest.importorskip('numba')
    monkeypatch.setattr(precision, 'cpu_has', lambda name: True)
    replaced = []
    monkeypatch.setattr(layer, 'use_winograd', replaced.append)
    for tiles, computed_in, count in [(True, 'fp32', 1), (False, 'bf16', 1), (True, 'bf16', 0), (False, 'fp16', 0)]:
        monkeypatch.setattr(torch_backend, 'cpu_has_tiles', lambda tiles=tiles: tiles)
        load(segmentor, runtime='torch', precision=computed_in, shape=SHAPE)
        assert len(replaced) == count, computed_in
        replaced.clear()


def test_what_the_cpu_has_is_known_to_every_pytorch(monkeypatch, tmp_path):
    info = tmp_path / 'cpuinfo'
    info.write_text('model name : A\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n')
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
    monkeypatch.setattr(precision, 'Path', lambda path: info)
    assert precision.cpu_has('fp32') and precision.cpu_has('bf16') and not precision.cpu_has('fp16')
    assert not precision.cpu_has_tiles()
    info.write_text('flags : amx_bf16 amx_fp16\n')
    assert precision.cpu_has('fp16') and precision.cpu_has_tiles()
    info.unlink()
    assert precision.cpu_has('fp32') and not precision.cpu_has('bf16')


@pytest.mark.parametrize('runtime', ['compile', 'pt2'])
def test_inductor_gives_the_labels_of_eager(segmentor, images, logits, runtime, needs_compiler):
    segment = load(segmentor, runtime=runtime, shape=SHAPE)
    with torch.compiler.set_stance('fail_on_recompile'):  # it was compiled by `load`, and for good
        assert_same_but_for_ties(segment(images[0]), logits[0])
        assert_same_but_for_ties(segment(images), logits)
        assert_same_but_for_ties(segment(torch.from_numpy(images[1:2])).numpy(), logits[1:2])


@pytest.mark.parametrize('format', ['onnx', 'openvino'])
@pytest.mark.parametrize('throughput', [False, True])
def test_files_give_the_labels_of_eager(files, images, logits, format, throughput):
    segment = load(files[format], threads=2, throughput=throughput)
    assert_same_but_for_ties(segment(images), logits)
    assert_same_but_for_ties(segment(images[0]), logits[0])


def test_openvino_computes_in_bf16(segmentor, images, logits):
    pytest.importorskip('openvino')
    if not precision.cpu_has('bf16'):
        pytest.skip('no bf16 in this CPU')
    labels = load(segmentor, runtime='openvino', precision='bf16', shape=SHAPE)(images)
    assert_same_but_for_ties(labels, logits, 'bf16')
    assert np.count_nonzero(labels != logits.argmax(1))  # as it would not in fp32


def test_a_config_and_its_checkpoint_run_by_a_file(segmentor, images, logits, tmp_path):
    pytest.importorskip('onnxruntime')
    torch.save(dict(state_dict=segmentor.state_dict(), meta={}), tmp_path / 'weights.pth')
    segment = load(CONFIG, tmp_path / 'weights.pth', 'onnxruntime', shape=SHAPE)
    assert_same_but_for_ties(segment(images), logits)


@pytest.mark.parametrize(
    ('source', 'given', 'loaded'),
    [
        ('bisenetv2_camvid', None, True),
        ('bisenetv2_camvid', False, False),
        ('bisenetv2_camvid', 'a.pth', 'a.pth'),
        (model_index.find('bisenetv2_camvid').config, None, False),
    ],
)
def test_a_name_brings_its_weights(monkeypatch, source, given, loaded):
    def get_model(name: str, pretrained: bool | str, device: torch.device) -> nn.Module:
        assert (name, pretrained) == (str(source), loaded)
        raise KeyboardInterrupt

    monkeypatch.setattr(building, 'get_model', get_model)
    with pytest.raises(KeyboardInterrupt):
        load(source, given)


# -- the callable ------------------------------------------------------------------------------------------------------


def test_rgb_is_bgr_reversed(segmentor, images):
    expected = load(segmentor, shape=SHAPE)(images)
    segment = load(segmentor, shape=SHAPE, channel_order='rgb')
    np.testing.assert_array_equal(segment(images[..., ::-1]), expected)
    np.testing.assert_array_equal(segment(images[0, ..., ::-1]), expected[0])
    assert not np.array_equal(segment(images), expected)


def test_takes_tensors_and_any_layout(segmentor, images):
    segment = load(segmentor, runtime='torch', shape=SHAPE)
    expected = segment(images)
    labels = segment(torch.from_numpy(images))
    assert labels.dtype == torch.uint8 and not labels.is_inference()
    np.testing.assert_array_equal(labels, expected)
    images.flags.writeable = False
    np.testing.assert_array_equal(segment(images), expected)
    images.flags.writeable = True
    by_column = np.asfortranarray(images)
    np.testing.assert_array_equal(segment(by_column), expected)


def test_labels_may_be_kept_and_written(files, images):
    for file in files.values():
        segment = load(file)
        first = segment(images[0])
        kept = first.copy()
        segment(images[1])
        np.testing.assert_array_equal(first, kept)
        first[:] = 255


def test_tells_what_it_is(segmentor, files):
    for source, runtime in [(segmentor, 'eager'), (files['onnx'], 'onnxruntime')]:
        segment = load(source, shape=SHAPE)
        assert (segment.runtime, segment.precision, segment.shape) == (runtime, 'fp32', SHAPE)
        assert segment.classes[:2] == ('road', 'sidewalk')
        assert list(map(list, segment.palette))[:2] == [[128, 64, 128], [244, 35, 232]]
        assert segment.num_classes == len(segment.classes) == 19


@pytest.mark.parametrize('runtime', ['torch', 'onnxruntime', 'openvino'])
def test_two_threads_call_one(request, segmentor, images, runtime):
    source = segmentor
    if runtime != 'torch':
        source = request.getfixturevalue('files')[runtime.removesuffix('runtime')]
    segment = load(source, runtime=runtime, shape=SHAPE)
    expected, barrier = segment(images), threading.Barrier(2)

    def call(index: int) -> list[np.ndarray]:
        barrier.wait()
        return [segment(images[index]) for _ in range(5)]

    with ThreadPoolExecutor(2) as pool:
        for index, labels in enumerate(pool.map(call, range(2))):
            np.testing.assert_array_equal(labels, [expected[index]] * 5)


def test_threads_are_obeyed(monkeypatch, segmentor, files):
    import onnxruntime
    import openvino

    made = []

    def spied(function):
        return lambda *args, **kwargs: made.append(function(*args, **kwargs)) or made[-1]

    monkeypatch.setattr(onnxruntime, 'InferenceSession', spied(onnxruntime.InferenceSession))
    monkeypatch.setattr(openvino.Core, 'compile_model', spied(openvino.Core.compile_model))
    for threads in (1, 2):
        load(segmentor, runtime='torch', shape=SHAPE, threads=threads)
        assert torch.get_num_threads() == threads
        load(files['onnx'], threads=threads)
        assert made.pop().get_session_options().intra_op_num_threads == threads
        load(files['openvino'], threads=threads)
        model = made.pop()
        assert model.get_property('INFERENCE_NUM_THREADS') == threads
        assert model.get_property('INFERENCE_PRECISION_HINT') == openvino.Type.f32


def test_loading_again_changes_nothing(files, images):
    first = load(files['openvino'])
    expected = first(images)
    second = load(files['openvino'])
    np.testing.assert_array_equal(second(images), expected)
    np.testing.assert_array_equal(first(images), expected)


# -- bad input ---------------------------------------------------------------------------------------------------------


def assert_refused(message: str, call, *args, **kwargs) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call(*args, **kwargs)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(runtime='mnn'), r"runtime 'mnn' is not known; choose one of eager, torch, .*, ncnn$"),
        (dict(precision='int4'), r"runtime eager does not compute in 'int4'; choose fp32$"),
        (dict(precision='bf16'), r"runtime eager does not compute in 'bf16'; choose fp32; bf16 is of torch, "),
        (dict(runtime='openvino', precision='int8'), r'int8: 0 images to calibrate with, .* at least 10, better'),
        (dict(runtime='tensorrt'), r"runtime tensorrt does not run on device 'cpu'; give device='cuda'$"),
        (dict(runtime='openvino', device='cuda'), r"openvino does not run on device 'cuda'; give device='cpu'$"),
        (dict(device='gpu'), r"device='gpu' is not known; give cpu or cuda$"),
        (dict(channel_order='RGB'), r"channel_order='RGB' is not known; give bgr or rgb$"),
        (dict(threads=0), r'threads=0: give a number from 1 to 256$'),
        (dict(threads='two'), r"threads='two': give a number from 1 to 256$"),
        (dict(shape=(0, 64)), r'shape=\(0, 64\): give a height and a width of 1 or more$'),
        (dict(shape={64, 96}), r'shape=\{.*\}: give \(height, width\) in pixels$'),
        (dict(shape=512), r'shape=512: give \(height, width\) in pixels$'),
    ],
)
def test_options_that_cannot_be(segmentor, options, message):
    assert_refused(message, load, segmentor, **options)


@pytest.mark.parametrize('runtime', ['eager', 'torch'])
def test_more_classes_than_a_byte_counts(runtime):
    segmentor = mmseg_bisenet.get_model(CONFIG, num_classes=257)
    assert_refused('257 classes: labels are uint8', load, segmentor, runtime=runtime, shape=SHAPE)


def test_a_gpu_that_is_not_there(monkeypatch, segmentor):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    message = r"device 'cuda': PyTorch sees no GPU; install its build for CUDA"
    assert_refused(message + r", or give device='cpu'$", load, segmentor, device='cuda')
    assert_refused(message + '$', load, segmentor, runtime='tensorrt', device='cuda')


def test_a_precision_that_the_cpu_lacks(monkeypatch, segmentor):
    monkeypatch.setattr(precision, 'cpu_has', lambda name: name in ('fp32', 'int8'))
    message = r'precision {}: this CPU has no instructions for it; choose {}$'
    assert_refused(message.format('bf16', 'fp32'), load, segmentor, runtime='torch', precision='bf16')
    assert_refused(message.format('fp16', 'fp32 or int8'), load, segmentor, runtime='openvino', precision='fp16')


def test_a_pytorch_that_is_too_old(monkeypatch, segmentor):
    monkeypatch.setattr(torch, '__version__', torch.torch_version.TorchVersion('2.5.1'))
    for runtime, what in (('compile', 'runtime compile'), ('pt2', 'format pt2')):
        message = rf'^{what}: PyTorch 2\.6 or newer is needed, and this is 2\.5\.1; install it$'
        assert_refused(message, load, segmentor, runtime=runtime)


def test_a_package_for_another_device(monkeypatch, tmp_path):
    (tmp_path / 'net.pt2').write_bytes(b'abc')
    write_about(tmp_path / 'net.pt2', ABOUT | dict(format='pt2', bytes=3, device='cuda'))
    assert_refused(r"net\.pt2 runs on cuda, not on cpu; give device='cuda'$", load, tmp_path / 'net.pt2')


@pytest.fixture
def no_compiler() -> Iterator[None]:
    from torch._inductor import config, cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    with config.patch({'cpp.cxx': ('no-compiler-of-this-name',)}):
        yield
    cpp_builder.cpp_compiler_search.cache_clear()


def test_no_compiler(no_compiler, segmentor):
    for runtime in ('compile', 'pt2'):
        assert_refused(r'compiler for C\+\+, and none was found; install g\+\+', load, segmentor, runtime=runtime)


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
def test_an_extra_that_is_missing(monkeypatch, files, name):
    monkeypatch.setitem(sys.modules, name, None)
    file = files[name.removesuffix('runtime')]
    assert_refused(rf'^{name} not installed; run: {re.escape(install.command("export"))}$', load, file)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(runtime='openvino'), r'is of runtime onnxruntime, not openvino; leave runtime out, or export another$'),
        (dict(precision='bf16'), r'is of precision fp32, not bf16; leave precision out'),
        (dict(shape=(64, 64)), r'is of shape \(64, 128\), not \(64, 64\); leave shape out'),
        (dict(checkpoint='a.pth'), r'has its weights; leave checkpoint a\.pth out$'),
        (dict(checkpoint=False), r'has its weights; leave checkpoint False out$'),
        (dict(device='cuda'), r"runtime onnxruntime does not run on device 'cuda'; give device='cpu'$"),
    ],
)
def test_options_that_contradict_the_file(files, options, message):
    assert_refused(message, load, files['onnx'], **options)


def test_files_that_are_none_of_ours(files, tmp_path):
    assert_refused(r'none\.onnx does not exist', load, tmp_path / 'none.onnx')
    (tmp_path / 'other.pt2.json').write_text(json.dumps(dict(format_version=99, bytes=3)))
    (tmp_path / 'other.pt2').write_bytes(b'abc')
    assert_refused(r'other\.pt2 is of format version 99', load, tmp_path / 'other.pt2')
    content = files['onnx'].read_bytes()
    (tmp_path / 'cut.onnx').write_bytes(content[: len(content) // 2])
    assert_refused(r'cut\.onnx is cut short or damaged', load, tmp_path / 'cut.onnx')


def unsealed(text: str) -> str:
    return re.sub(f'(?<={MARK.decode()})[0-9a-f]{{8}}', ZEROS.decode(), text)


def test_a_file_that_its_runtime_cannot_take(files, tmp_path):
    onnx = pytest.importorskip('onnx')
    model = onnx.load(files['onnx'])
    model.graph.node[0].op_type = 'OfNoVersion'
    model.metadata_props[0].value = unsealed(model.metadata_props[0].value)
    onnx.save(model, tmp_path / 'newer.onnx')
    seal(FORMATS['onnx'], tmp_path / 'newer.onnx')
    assert_refused(r'newer\.onnx does not load in onnxruntime \(.*; it is damaged', load, tmp_path / 'newer.onnx')
    xml = files['openvino']
    text, count = re.subn(r'type="Convolution"', 'type="OfNoVersion"', xml.read_text(), count=1)
    assert count == 1
    (tmp_path / 'newer.xml').write_text(unsealed(text))
    (tmp_path / 'newer.bin').write_bytes(xml.with_suffix('.bin').read_bytes())
    seal(FORMATS['openvino'], tmp_path / 'newer.xml')
    assert_refused(r'newer\.xml does not load in openvino \(.*; it is damaged', load, tmp_path / 'newer.xml')


@pytest.mark.parametrize(
    'given, message',
    [
        ('street.png', r'image of type str: give an array or a tensor'),
        (np.zeros((64, 128, 3), np.float32), r'image of dtype float32: give uint8, 0 to 255'),
        (torch.zeros(64, 128, 3), r'image of dtype torch\.float32: give uint8'),
        (np.zeros((64, 128), np.uint8), r'image of shape \(64, 128\): give \(H, W, 3\), or a batch'),
        (np.zeros((64, 128, 4), np.uint8), r'image of shape \(64, 128, 4\): give'),
        (np.zeros((0, 64, 128, 3), np.uint8), r'image of shape \(0, 64, 128, 3\): give'),
        (np.zeros((0, 128, 3), np.uint8), r'image of shape \(0, 128, 3\): give'),
        (torch.zeros(64, 128, 3, dtype=torch.uint8, device='meta'), 'image is a tensor of the meta device, or sparse'),
        (torch.zeros(64, 128, 3, dtype=torch.uint8).to_sparse(), 'image is a tensor of the meta device, or sparse'),
        (torch.zeros(64, 128, 3, requires_grad=True), r'image of dtype torch\.float32: give uint8'),
    ],
)
def test_images_that_are_none(segmentor, given, message):
    assert_refused(message, load(segmentor, shape=(8, 8)), given)


def test_an_image_of_another_size_than_the_file(files):
    message = (
        r'image of 64x64: runtime openvino was made for 64x128; resize .* shape=\(64, 64\), or export .* --dynamic$'
    )
    assert_refused(message, load(files['openvino']), np.zeros((64, 64, 3), np.uint8))


def test_eager_tests_as_the_config_says():
    """Sliding windows too, which a deployed network does not know."""
    segmentor = mmseg_bisenet.get_model('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024')
    segmentor.test_cfg.update(mode='slide', crop_size=(64, 64), stride=(32, 32))
    assert load(segmentor, shape=(64, 96))(np.zeros((64, 96, 3), np.uint8)).shape == (64, 96)
    with pytest.raises(InputError, match='mode=slide'):
        load(segmentor, runtime='torch', shape=(64, 96))


def test_openvino_leaves_the_signal_stack_alone(files):
    """Otherwise the next signal with a handler of Python's ends the process, once OpenVINO has freed its stack."""
    libc, before, after = ctypes.CDLL(None), ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    libc.sigaltstack(None, before)
    load(files['openvino'])(np.zeros((64, 128, 3), np.uint8))
    libc.sigaltstack(None, after)
    assert after.raw == before.raw


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='glibc keeps what is freed')
def test_the_memory_that_building_took_is_returned():
    blocks: list = [np.ones(50_000, np.uint8) for _ in range(2000)]
    last = blocks[-1]
    blocks.append(blocks)
    before = resident_bytes()
    del blocks
    loading.release_memory()
    assert resident_bytes() < before - 80e6 and last.all()
