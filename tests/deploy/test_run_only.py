"""Exported files in an environment of the extra `run`, without PyTorch; and what is said where an extra is missing."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from base import randomise
from clean import Clean
from deploy.about import ABOUT, write_about
from small import shrunk

import mmseg_bisenet
from mmseg_bisenet import install
from mmseg_bisenet.cli import COMMANDS, main
from mmseg_bisenet.deploy import load, verify
from mmseg_bisenet.deploy.backends import FORMATS
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.int8 import library
from mmseg_bisenet.deploy.metadata import UNSEALED, seal
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.deploy.references import encoded
from mmseg_bisenet.errors import InputError

pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')

SHAPE = (64, 128)
HEAVY = ('torch', 'mmengine', 'mmcv', 'mmseg', 'onnx', 'numba', 'openvino')
# Modules of `deploy` that are of PyTorch. All others are imported without it.
TORCH = {
    'building',
    'cuda_graph',
    'export',
    'graph',
    'int8/plan',
    'int8/ranges',
    'int8/trace',
    'max_pool',
    'network',
    'segmentor',
    'serving',
    'tensor_predictor',
    'verify',
    'winograd',
}

LABELS = f"""
import importlib.util, sys
import numpy as np
from mmseg_bisenet.deploy import load

assert not [name for name in {HEAVY} if importlib.util.find_spec(name)]
images = np.load('images.npy')
for kind in ('labels', 'logits'):
    segment = load(f'{{kind}}.onnx')
    assert (segment.runtime, segment.shape, segment.classes[0]) == ('onnxruntime', {SHAPE}, 'road')
    labels = segment(images)
    assert (labels[0] == segment(images[0])).all()
    assert (labels == load(f'{{kind}}.onnx', channel_order='rgb')(images[..., ::-1])).all()
    np.save(f'{{kind}}.npy', labels)
"""


@pytest.fixture(scope='module')
def segmentor():
    torch.manual_seed(0)
    return randomise(shrunk(mmseg_bisenet.get_model('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024')))


@pytest.fixture(scope='module')
def run_only(tmp_path_factory, segmentor) -> Clean:
    """An environment of the extra `run`; in its folder are a file that gives labels and one that gives logits."""
    clean = Clean(tmp_path_factory.mktemp('run'), 'run')
    for kind in ('labels', 'logits'):
        path = export(segmentor, 'onnx', 'fp32', SHAPE, clean.folder / kind, output_kind=kind)
        path.rename(clean.folder / f'{kind}.onnx')
    return clean


@pytest.fixture(scope='module')
def bare(tmp_path_factory) -> Clean:
    """What `pip install .` gives."""
    return Clean(tmp_path_factory.mktemp('bare'))


def test_files_give_the_labels_of_pytorch(run_only, segmentor):
    rng = np.random.RandomState(0)
    images = np.stack([cv2.resize(rng.randint(0, 256, (4, 8, 3), np.uint8), SHAPE[::-1]) for _ in range(2)])
    np.save(run_only.folder / 'images.npy', images)
    run_only('-c', LABELS)
    for kind in ('labels', 'logits'):
        labels = np.load(run_only.folder / f'{kind}.npy')
        about = dict(output_kind='labels', precision='fp32')
        equal, right = verify.compare(lambda _, labels=labels: labels, DeployNetwork(segmentor), [images], about)
        assert right == 1 and equal > 0.999


def test_a_file_of_our_kernels_gives_the_same_labels(run_only, segmentor):
    """As in this process, which has PyTorch."""
    try:
        library.require()
    except InputError as error:
        pytest.skip(str(error))
    rng = np.random.RandomState(2)
    images = np.stack([cv2.resize(rng.randint(0, 256, (4, 8, 3), np.uint8), SHAPE[::-1]) for _ in range(10)])
    path = export(segmentor, 'vnni', 'int8', SHAPE, run_only.folder / 'vnni', calibration=images)
    np.save(run_only.folder / 'images.npy', images[:2])
    code = f'from mmseg_bisenet.deploy import load; np.save("int8.npy", load({str(path)!r})(np.load("images.npy")))'
    run_only('-c', f'import sys, numpy as np; {code}; assert "torch" not in sys.modules')
    np.testing.assert_array_equal(np.load(run_only.folder / 'int8.npy'), load(path)(images[:2]))
    done = run_only('-m', 'mmseg_bisenet.cli', 'verify', path)
    assert done.stdout.splitlines()[0] == f'{path}: vnni in int8, 64x128'


def test_verify_replays_the_check_of_the_export(run_only):
    for kind in ('labels', 'logits'):
        first, second, third = run_only('-m', 'mmseg_bisenet.cli', 'verify', f'{kind}.onnx').stdout.splitlines()
        assert first == f'{kind}.onnx: onnxruntime in fp32, 64x128'
        assert second.startswith('labels  100.000% are those of PyTorch in fp32 (')
        assert third.startswith('time ') and third.endswith('ms an image, median')


def test_predict_labels_an_image(run_only):
    image = cv2.resize(np.random.RandomState(1).randint(0, 256, (4, 8, 3), np.uint8), SHAPE[::-1])
    cv2.imwrite(str(run_only.folder / 'street.png'), image)
    arguments = ['street.png', '--model', 'labels.onnx', '--save', 'labels', '--output', 'predicted']
    done = run_only('-m', 'mmseg_bisenet.cli', 'predict', *arguments)
    assert done.stdout.splitlines()[0] == 'labels.onnx: runtime onnxruntime, fp32, height 64'
    (file,) = (run_only.folder / 'predicted').iterdir()
    labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, mmseg_bisenet.deploy.load(run_only.folder / 'labels.onnx')(image))


def test_every_module_that_is_not_of_pytorch_is_imported(run_only):
    folder = Path(mmseg_bisenet.__file__).parent / 'deploy'
    files = [path.relative_to(folder).with_suffix('') for path in folder.rglob('*.py')]
    others = [file for file in files if TORCH.isdisjoint({file.parts[0], file.as_posix()})]
    names = ['.'.join(file.parts).removesuffix('.__init__') for file in others]
    assert len(names) > 15
    run_only('-c', '\n'.join(f'import mmseg_bisenet.deploy.{name}' for name in names if name != '__init__'))


def test_another_runtime_that_is_missing(run_only):
    about = ABOUT | dict(bytes=0, output_kind='labels', references=[dict(image='a', labels='b')])
    root = ElementTree.Element('net')
    value = json.dumps(about | dict(format='openvino', checksum=UNSEALED))
    ElementTree.SubElement(ElementTree.SubElement(root, 'rt_info'), 'mmseg_bisenet', value=value)
    ElementTree.ElementTree(root).write(run_only.folder / 'net.xml')
    (run_only.folder / 'net.bin').touch()
    seal(FORMATS['openvino'], run_only.folder / 'net.xml')
    done = run_only('-m', 'mmseg_bisenet.cli', 'verify', 'net.xml', status=2)
    assert done.stderr == 'mmseg-bisenet: error: openvino not installed; run: pip install openvino\n'
    (run_only.folder / 'net.tflite').touch()
    write_about(run_only.folder / 'net.tflite', about | dict(format='litert'))
    done = run_only('-m', 'mmseg_bisenet.cli', 'verify', 'net.tflite', status=2)
    assert done.stderr == 'mmseg-bisenet: error: ai_edge_litert not installed; run: pip install ai_edge_litert\n'
    (run_only.folder / 'net.pt2').touch()
    write_about(run_only.folder / 'net.pt2', about | dict(format='pt2'))
    done = run_only('-m', 'mmseg_bisenet.cli', 'verify', 'net.pt2', status=2)
    assert done.stderr == (
        'mmseg-bisenet: error: exported file net.pt2 needs torch, which is not installed; run: '
        f'{install.command("openmmlab")}\n'
    )


def test_a_model_that_is_not_exported(run_only):
    done = run_only('-c', 'import mmseg_bisenet.deploy; mmseg_bisenet.deploy.load("bisenetv2_camvid")', status=1)
    assert done.stderr.splitlines()[-1] == (
        'ModuleNotFoundError: deploy.load of a model that is not exported needs torch, which is not installed; run: '
        f'{install.command("openmmlab")}'
    )


def test_a_model_that_is_not_exported_has_no_extra_here(run_only):
    """`run` and a stack bring two wheels of OpenCV, which break each other."""
    cv2.imwrite(str(run_only.folder / 'unlabelled.png'), np.zeros((64, 128, 3), np.uint8))
    assert run_only('-m', 'mmseg_bisenet.cli', 'predict', 'unlabelled.png', status=2).stderr == (
        'mmseg-bisenet: error: this model needs torch, which is not installed; give an exported file with --model, or '
        f'in another environment run: {install.command("openmmlab")}\n'
    )


def test_env_finds_no_problem(run_only):
    assert 'no problem found' in run_only('-m', 'mmseg_bisenet.cli', 'env').stdout


# -- without any extra -------------------------------------------------------------------------------------------------

ARGUMENTS = {
    'train': ['config.py'],
    'test': ['config.py', 'weights.pth'],
    'report': ['work_dir'],
    'run': ['print_config'],
    'predict': ['street.png'],
    'segment': ['street.png'],
    'export': ['bisenetv2_camvid'],
    'verify': ['file.onnx'],
    'benchmark': ['bisenetv2_camvid'],
    'convert': ['in.pth', 'out.pth'],
    'check-labels': ['config.py'],
    'convert-camvid': ['segnet', 'camvid'],
    'convert-celebamask': ['CelebAMask-HQ', 'celebamask'],
    'miniscapes': ['streets'],
    'demo': [],
    'new-config': ['images', '--classes', 'road', 'sky'],
    'web': [],
}
EXTRAS = {'verify': 'run', 'miniscapes': 'demo'}


def test_each_command_names_its_extra(bare):
    assert set(ARGUMENTS) == set(COMMANDS) - {'env', 'list'}
    code = f'from mmseg_bisenet.cli import main\nfor words in {list(ARGUMENTS.items())}: main([words[0], *words[1]])'
    done = bare('-c', f'{code}\nassert main(["list"]) == 0')
    for command, line in zip(ARGUMENTS, done.stderr.splitlines(), strict=True):
        assert line.startswith('mmseg-bisenet: error: ') and ' is not installed; run: ' in line
        assert f'{install.command(EXTRAS.get(command, "openmmlab"))} (mmseg-bisenet env checks' in line, command
    assert 'bisenetv2_camvid' in done.stdout
    bare('-m', 'mmseg_bisenet.cli', 'train', 'config.py', status=2)


def test_each_function_names_its_extra(bare):
    for code, what, extra in (
        ('mmseg_bisenet.get_model("bisenetv2_camvid")', 'get_model', 'openmmlab'),
        ('import mmseg_bisenet.deploy; mmseg_bisenet.deploy.load', 'deploy.load', 'run'),
    ):
        done = bare('-c', f'import mmseg_bisenet; {code}', status=1)
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f'ModuleNotFoundError: {what} needs ')
        assert last.endswith(f'which is not installed; run: {install.command(extra)}')


# -- with everything ---------------------------------------------------------------------------------------------------


def test_pytorch_is_not_imported_for_a_file(run_only):
    code = 'import sys; from mmseg_bisenet.deploy import load; load(sys.argv[1]); print("torch" in sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', code, run_only.folder / 'labels.onnx'], capture_output=True, text=True, check=True
    )
    assert done.stdout == 'False\n'


def test_labels_that_are_wrong_and_files_of_earlier_versions(run_only, tmp_path, capsys):
    onnx = pytest.importorskip('onnx')
    model = onnx.load(run_only.folder / 'labels.onnx')
    (item,) = model.metadata_props
    metadata = json.loads(item.value)
    metadata['checksum'] = UNSEALED

    def save(name: str, references: list) -> None:
        item.value = json.dumps(metadata | dict(references=references))
        onnx.save(model, tmp_path / name)
        seal(FORMATS['onnx'], tmp_path / name)

    wrong = encoded(np.zeros((*SHAPE, 3), np.uint8), np.full(SHAPE, 18, np.uint16))
    for name, references in (('wrong', [metadata['references'][0], wrong]), ('old', [])):
        save(f'{name}.onnx', references)
    small = encoded(np.zeros((*SHAPE, 3), np.uint8), np.zeros((3, 4), np.uint16))
    for reason, reference in {
        'no PNG': dict(image='AAAA', labels='AAAA'),
        'empty': dict(image='', labels=''),
        'of another shape': small,
    }.items():
        save('damaged.onnx', [reference])
        assert main(['verify', str(tmp_path / 'damaged.onnx')]) == 2
        expected = f'damaged.onnx has reference images that are damaged ({reason}); export it again\n'
        assert capsys.readouterr().err.endswith(expected)
    assert main(['verify', str(tmp_path / 'wrong.onnx')]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 and len(err.splitlines()) == 1
    assert err.startswith(f'mmseg-bisenet: {tmp_path}/wrong.onnx: 50.0') and '99.99% are needed; update' in err
    assert main(['verify', str(tmp_path / 'old.onnx')]) == 2
    err = capsys.readouterr().err
    assert f'exported file {tmp_path}/old.onnx has no reference images: an earlier version wrote it; export' in err
    assert len(err.splitlines()) == 1
