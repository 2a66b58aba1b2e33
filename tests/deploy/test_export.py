"""Exported files compute what the network does, say what they are, and are only there when they are right."""

import copy
import json
import re
from importlib.metadata import version

import numpy as np
import pytest
import torch
from deploy.about import ABOUT, write_about
from full_disk import largest_file
from small import shrunk

import mmseg_bisenet
from mmseg_bisenet import install
from mmseg_bisenet.deploy import packages, verify
from mmseg_bisenet.deploy.backends import FORMATS, openvino, pt2
from mmseg_bisenet.deploy.backends.base import beside
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.graph import bilinear
from mmseg_bisenet.deploy.metadata import read, read_metadata
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import scratch
from mmseg_bisenet.miniscapes.scene import draw_scene
from mmseg_bisenet.models.inference.upsample_argmax import reference
from mmseg_bisenet.palette import distinct

pytest.importorskip('onnxscript')
ort = pytest.importorskip('onnxruntime')
ov = pytest.importorskip('openvino')

CONFIG = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
V1 = 'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'
SHAPE = (64, 128)


@pytest.fixture(scope='module')
def segmentor():
    torch.manual_seed(0)
    return mmseg_bisenet.get_model(CONFIG)


@pytest.fixture(scope='module')
def small(segmentor):
    """For what does not depend on the network: files of it are written quickly."""
    return shrunk(segmentor)


@pytest.fixture(scope='module')
def street() -> np.ndarray:
    return draw_scene(3, (128, 256))[0]


@pytest.fixture(scope='module')
def onnx_file(segmentor, tmp_path_factory):
    return export(segmentor, 'onnx', 'fp32', SHAPE, tmp_path_factory.mktemp('onnx'))


@pytest.fixture(scope='module')
def openvino_file(segmentor, tmp_path_factory):
    return export(segmentor, 'openvino', 'fp32', SHAPE, tmp_path_factory.mktemp('openvino'), output_kind='logits')


def logits_of(segmentor, images: np.ndarray) -> torch.Tensor:
    return DeployNetwork(segmentor)(torch.from_numpy(images))


def assert_same_labels(labels: np.ndarray, segmentor, images: np.ndarray) -> None:
    network = DeployNetwork(segmentor)
    about = dict(output_kind='labels', precision='fp32')
    assert labels.dtype == np.uint8 and labels.shape == images.shape[:3]
    assert verify.compare(lambda _: labels, network, [images], about)[1] == 1


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(('source', 'target'), [(8, 64), (5, 37), (1, 8), (9, 5)])
def test_bilinear_upsamples_as_pytorch(source, target, align_corners):
    x = torch.randn(1, 2, source, 1)
    wanted = torch.nn.functional.interpolate(x, (target, 1), mode='bilinear', align_corners=align_corners)
    result = bilinear(source, target, align_corners, x.device) @ x
    torch.testing.assert_close(result, wanted)


def test_onnx_gives_the_labels_of_the_network(onnx_file, segmentor, street):
    assert onnx_file.name == f'{CONFIG}_fp32_64x128.onnx'
    images = street[None, :64, :128].copy()
    labels = ort.InferenceSession(onnx_file).run(['labels'], dict(images=images))[0]
    assert_same_labels(labels, segmentor, images)


def test_openvino_gives_the_logits_of_the_network(openvino_file, segmentor, street):
    images = street[None, 64:, :128].copy()
    model = ov.Core().compile_model(openvino_file, 'CPU', dict(INFERENCE_PRECISION_HINT='f32'))
    wanted = logits_of(segmentor, images)
    torch.testing.assert_close(torch.from_numpy(model(images)['logits']), wanted, rtol=1e-3, atol=1e-5)
    assert read_metadata(openvino_file)['output_kind'] == 'logits'


def test_openvino_reports_nothing():
    from openvino.tools.ovc import telemetry_stub, telemetry_utils

    assert telemetry_utils.tm is telemetry_stub


def test_free_shapes(street, tmp_path):
    segmentor = mmseg_bisenet.get_model(V1)
    path = export(segmentor, 'onnx', 'fp32', SHAPE, tmp_path, dynamic=True)
    session = ort.InferenceSession(path)
    for batch, height, width in [(1, 64, 128), (3, 77, 131), (2, 128, 256)]:
        images = np.repeat(street[None, :height, :width], batch, axis=0)
        assert_same_labels(session.run(None, dict(images=images))[0], segmentor, images)
    assert read_metadata(path)['dynamic'] is True


def test_fp16_holds_half_the_bytes_and_the_same_labels_but_for_ties(onnx_file, segmentor, street, tmp_path):
    path = export(segmentor, 'onnx', 'fp16', SHAPE, tmp_path)
    assert path.stat().st_size < 0.55 * onnx_file.stat().st_size
    images = street[None, :64, :128].copy()
    labels = ort.InferenceSession(path).run(None, dict(images=images))[0]
    about = dict(output_kind='labels', precision='fp16')
    assert verify.compare(lambda _: labels, DeployNetwork(segmentor), [images], about)[1] > 0.99


def test_metadata_says_what_the_file_is(onnx_file, segmentor):
    found = read_metadata(onnx_file)
    wanted = dict(
        format_version=1, config=CONFIG, format='onnx', precision='fp32', shape=[64, 128], dynamic=False,
        output_kind='labels', num_classes=19, align_corners=False, channel_order='bgr', opset=20,
        classes=list(segmentor.dataset_meta['classes']), palette=segmentor.dataset_meta['palette'],
        mean=pytest.approx([123.675, 116.28, 103.53]), std=pytest.approx([58.395, 57.12, 57.375]),
    )  # fmt: skip
    assert {key: found[key] for key in wanted} == wanted
    assert found['versions']['torch'] == version('torch')  # torch.__version__ may say more


def test_a_network_that_is_deployed_already(onnx_file, segmentor, street, tmp_path):
    deployed = copy.deepcopy(segmentor)
    deployed.switch_to_deploy()
    path = export(deployed, 'onnx', 'fp32', SHAPE, tmp_path)
    images = street[None, :64, :128].copy()
    assert_same_labels(ort.InferenceSession(path).run(None, dict(images=images))[0], segmentor, images)
    found = read_metadata(path)
    assert found['mean'] is None and found['std'] is None


@pytest.mark.parametrize('format', ['onnx', 'openvino'])
def test_any_name_of_a_class_comes_back(small, format, tmp_path):
    small = copy.deepcopy(small)
    names = [f'a "b" <c> & d\'\u00fc {i}' for i in range(19)]
    small.dataset_meta = dict(classes=names, palette=None)
    about = read_metadata(export(small, format, 'fp32', SHAPE, tmp_path))
    assert about['classes'] == names
    assert about['palette'] == [list(colour) for colour in distinct(19)]


@pytest.mark.parametrize('name', ['', ' ', 'a\nb', 'a\tb', 'a\u2028b'])
def test_names_of_classes_that_cannot_be_shown(small, name, tmp_path):
    small = copy.deepcopy(small)
    small.dataset_meta = dict(classes=[name, *map(str, range(18))])
    with pytest.raises(InputError) as caught:
        export(small, 'onnx', 'fp32', SHAPE, tmp_path)
    assert str(caught.value) == (
        f'the dataset_meta of the network names a class {name!r}, which is blank or has control characters; fix it'
    )
    assert not any(tmp_path.iterdir())


def test_nothing_of_this_machine_is_in_the_file(onnx_file):
    assert b'site-packages' not in onnx_file.read_bytes() and b'.py' not in onnx_file.read_bytes()


def test_logits_are_a_tensor_of_the_graph(onnx_file, segmentor, street):
    import onnx

    model = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(onnx.load(onnx_file)))
    part = model.extract_model(['images'], ['logits'])
    images = street[None, :64, :128].copy()
    logits = ort.InferenceSession(part.SerializeToString()).run(None, dict(images=images))[0]
    torch.testing.assert_close(torch.from_numpy(logits), logits_of(segmentor, images), rtol=1e-3, atol=1e-5)


# -- what must not pass ------------------------------------------------------------------------------------------------


def test_a_mismatch_is_removed_and_what_was_there_stays(small, tmp_path, monkeypatch):
    old = tmp_path / f'{CONFIG}_fp32_64x128.onnx'
    old.write_text('the one before')

    def wrong(exported, device):
        return lambda images: np.full(images.shape[:3], 7, np.uint8)

    monkeypatch.setattr(FORMATS['onnx'], 'run_plainly', wrong)
    with pytest.raises(InputError, match=r'64x128.onnx: \d+\.\d\d% of the labels are those of PyTorch .* removed'):
        export(small, 'onnx', 'fp32', SHAPE, tmp_path, overwrite=True)
    with pytest.raises(InputError, match=r'64x128\.onnx exists already; name another folder with --output'):
        export(small, 'onnx', 'fp32', SHAPE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert old.read_text() == 'the one before'


def test_labels_of_no_class_are_wrong(segmentor, street):
    images = street[None, :64, :128].copy()
    network = DeployNetwork(segmentor)
    network.decode_head.conv_seg.bias.data[-1] += 100  # the last class, which a larger index is not
    about = dict(output_kind='labels', precision='fp32')
    for label, share in ((18, 1), (19, 0), (255, 0)):
        wrong = np.full(images.shape[:3], label, np.uint8)
        assert verify.compare(lambda _, wrong=wrong: wrong, network, [images], about) == (share, share)


def test_an_interrupt_leaves_nothing(small, tmp_path, monkeypatch):
    def interrupt(*_):
        assert list(tmp_path.glob('.*.partial/*.onnx'))
        raise KeyboardInterrupt

    monkeypatch.setattr(FORMATS['onnx'], 'run_plainly', interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(small, 'onnx', 'fp32', SHAPE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_pytorch_that_is_too_old(segmentor, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, '__version__', torch.torch_version.TorchVersion('2.5.1'))
    with pytest.raises(InputError, match=r'format onnx: PyTorch 2\.6 or newer is needed, and this is 2\.5\.1'):
        export(segmentor, 'onnx', 'fp32', SHAPE, tmp_path)


@pytest.mark.parametrize('shape', [(0, 128), (-64, 128), (63, 128), (64, 20000)])
def test_shapes_that_cannot_be(segmentor, shape, tmp_path):
    with pytest.raises(InputError, match='give height and width, each from 64 to 16384 pixels'):
        export(segmentor, 'onnx', 'fp32', shape, tmp_path)


def test_a_network_that_pads_by_the_size_has_no_free_one(tmp_path):
    segmentor = mmseg_bisenet.get_model('bisenetv2_fcn-paddleseg_4xb4-160k_cityscapes-1024x1024')
    with pytest.raises(InputError, match=r'pad or pool by the size of the image, .* leave --dynamic out'):
        export(segmentor, 'onnx', 'fp32', SHAPE, tmp_path, dynamic=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('format', 'precision', 'text'),
    [
        ('onnx', 'bf16', 'format onnx has no precision .bf16.; choose fp32, fp16, int8, or bf16 in openvino, pt2'),
        ('pt2', 'int8', 'format pt2 has no precision .int8.; choose fp32, bf16, fp16, or int8 in onnx, openvino'),
        ('torchscript', 'fp32', 'format .torchscript. is not known; choose one of onnx, openvino, vnni, pt2, tensorrt'),
    ],
)
def test_formats_and_precisions_that_are_not(segmentor, format, precision, text, tmp_path):
    with pytest.raises(InputError, match=text):
        export(segmentor, format, precision, SHAPE, tmp_path)


def test_a_precision_that_this_cpu_lacks(segmentor, monkeypatch, tmp_path):
    monkeypatch.setattr('mmseg_bisenet.deploy.precision.cpu_has', lambda precision: precision == 'fp32')
    with pytest.raises(InputError, match='precision bf16: this CPU has no instructions for it; choose fp32'):
        export(segmentor, 'openvino', 'bf16', SHAPE, tmp_path)


def test_more_classes_than_a_byte_counts(tmp_path):
    segmentor = mmseg_bisenet.get_model(CONFIG, num_classes=257)
    with pytest.raises(InputError, match='257 classes, and labels are uint8, up to 256; take --output-kind logits'):
        export(segmentor, 'onnx', 'fp32', SHAPE, tmp_path)


def test_a_missing_extra(segmentor, monkeypatch, tmp_path):
    monkeypatch.setattr(packages.importlib, 'import_module', missing)
    command = re.escape(install.command('export'))
    with pytest.raises(InputError, match=rf'onnx, onnxscript, openvino not installed; run: {command}$'):
        export(segmentor, 'openvino', 'fp32', SHAPE, tmp_path)
    with pytest.raises(InputError, match=rf'onnx, onnxscript, tensorrt not installed; run: {command} tensorrt$'):
        export(segmentor, 'tensorrt', 'fp32', SHAPE, tmp_path)


def missing(name: str):
    raise ModuleNotFoundError(name=name)


def test_no_compiler(segmentor, monkeypatch, tmp_path):
    def none():
        raise InputError('no compiler')

    monkeypatch.setattr(pt2, 'require_compiler', none)
    with pytest.raises(InputError, match='no compiler'):
        export(segmentor, 'pt2', 'fp32', SHAPE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be(segmentor, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=r'file/.*64x128\.onnx cannot be written \(Not a directory\)'):
        export(segmentor, 'onnx', 'fp32', SHAPE, tmp_path / 'file')


def test_files_cut_short(onnx_file, openvino_file, tmp_path):
    for part in (1.0, 0.999, 0.5, 0.0):
        data = onnx_file.read_bytes()
        (tmp_path / 'cut.onnx').write_bytes(data[: int(part * len(data))])
        if part == 1:
            assert read_metadata(tmp_path / 'cut.onnx')['config'] == CONFIG
            continue
        with pytest.raises(InputError, match='cut short'):
            read_metadata(tmp_path / 'cut.onnx')
    (tmp_path / 'cut.xml').write_bytes(openvino_file.read_bytes())
    with pytest.raises(InputError, match=r'lacks cut.bin beside it'):
        read_metadata(tmp_path / 'cut.xml')
    (tmp_path / 'cut.bin').write_bytes(openvino_file.with_suffix('.bin').read_bytes()[:-100])
    with pytest.raises(InputError, match=r'cut.bin is cut short'):
        read_metadata(tmp_path / 'cut.xml')
    (tmp_path / 'cut.xml').write_bytes(openvino_file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r'cut.xml is cut short'):
        read_metadata(tmp_path / 'cut.xml')


def test_metadata_beside_a_file(tmp_path):
    path = tmp_path / 'net.pt2'
    path.write_bytes(b'0123456789')
    with pytest.raises(InputError, match=r'lacks net.pt2.json beside it'):
        read_metadata(path)
    write_about(path, ABOUT | dict(format='pt2', bytes=10))
    assert read_metadata(path)['format_version'] == 1
    write_about(path, ABOUT | dict(format='pt2', bytes=11))
    with pytest.raises(InputError, match='cut short'):
        read_metadata(path)
    beside(path).write_text(json.dumps(dict(format_version=2, bytes=10)))
    with pytest.raises(InputError, match='format version 2, and this mmseg_bisenet reads 1; export it again'):
        read_metadata(path)


def test_files_of_others(tmp_path):
    for name in ('net.onnx', 'net.txt'):
        with pytest.raises(InputError, match=r'does not exist|ends in none of'):
            read_metadata(tmp_path / name)
    (tmp_path / 'net.xml').write_text('<net/>')
    with pytest.raises(InputError, match='no metadata of mmseg_bisenet: another program wrote it'):
        read_metadata(tmp_path / 'net.xml')


def test_openvino_on_a_full_disk(tmp_path):
    pixels = ov.opset13.parameter([1, 8])
    model = ov.Model([ov.opset13.matmul(pixels, np.ones((8, 9000), np.float32), False, False)], [pixels])
    text = rf'^{tmp_path}/net.xml cannot be written \(OpenVINO: .*, as on a full disk\); name another place$'
    with largest_file(100_000), pytest.raises(InputError, match=text), scratch(tmp_path / 'net.xml') as folder:
        openvino.save(model, folder / 'net.xml', compress_to_fp16=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.gpu
def test_tensorrt(segmentor, street, tmp_path):
    pytest.importorskip('tensorrt')
    if not torch.cuda.is_available():
        pytest.skip('no GPU')
    path = export(segmentor, 'tensorrt', 'fp32', SHAPE, tmp_path)
    run = FORMATS['tensorrt'].run_plainly(read(path), torch.device('cuda'))
    images = street[None, :64, :128].copy()
    assert (run(images) == reference(logits_of(segmentor, images), SHAPE).numpy()).mean() > 0.999
