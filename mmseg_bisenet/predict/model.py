"""A network that labels images of any size, from a name, a config or an exported file.

A runtime of files (OpenVINO, ONNX Runtime) needs a file of free shape. For a model of the index it is written once, and
kept in the user's cache; later runs need neither the export nor PyTorch.
"""

import hashlib
import logging
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_bisenet import __version__, model_index
from mmseg_bisenet.errors import InputError, require_texts
from mmseg_bisenet.files import cache_folder, made

if TYPE_CHECKING:
    from mmseg_bisenet.deploy.predictor import Predictor as Segment

logger = logging.getLogger(__name__)
# In the order of their fp32 times in `results/runtimes_*_2-core-epyc*.csv`. Backends say what they need; `torch`
# convolves by numba.
TORCH_NEEDS = ('torch', 'mmseg', 'numba')
# Steps of a test pipeline whose work is done here or not needed, with the values that their arguments must have.
STEPS: dict[str, dict] = {
    'LoadImageFromFile': dict(color_type='color', to_float32=False),
    'Resize': {},
    'LoadAnnotations': {},
    'PackSegInputs': {},
}
FASTEST = ('torch', 'openvino', 'onnxruntime')


def load_model(
    model: str | Path,
    checkpoint: str | Path | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    device: str | None = None,
    height: int | None = None,
) -> 'Segment':
    """What :func:`mmseg_bisenet.deploy.load` returns, for images of any size unless an exported file has one size.

    Args:
        model: a name of the model index, the path of a config, or an exported file.
        checkpoint: weights; by default those of the index.
        runtime: by default the file's; for a name the fastest that is installed, for a config ``torch``.
        precision: by default the file's, or ``fp32``; ``int8`` of a file only.
        device: ``cpu`` or ``cuda``; by default a GPU if PyTorch sees one, for a name or a config.
        height: that the user asks for, which only a network for images of any size can have.

    Raises:
        InputError: as :func:`mmseg_bisenet.deploy.load`; or a height for a network of one size.
    """
    from mmseg_bisenet.deploy import load
    from mmseg_bisenet.deploy.backends import RUNTIMES, FileBackend
    from mmseg_bisenet.deploy.metadata import is_exported

    require_texts(runtime=runtime, precision=precision, device=device)
    model_index.require_name(model, 'a name of the model index, or the path of a config or of an exported file')
    if is_exported(model):
        segment = load(model, checkpoint, runtime, precision, device=device or 'cpu')
        if height and not segment.dynamic:
            size = f'{segment.shape[0]}x{segment.shape[1]}'
            raise InputError(f'height {height}: {model} takes {size} only; leave it out, or export with --dynamic')
        return segment
    if precision == 'int8':
        raise InputError(
            '--precision int8 needs images to calibrate with; write a file with mmseg-bisenet export --precision int8, '
            'and give it with --model'
        )
    name, precision = str(model), precision or 'fp32'
    of_index = checkpoint is None and name in model_index.entries()
    device = device or _device()
    if runtime is None:
        runtime = installed(device)[0] if of_index else 'torch'
    backend = RUNTIMES.get(runtime)
    if height and backend and not getattr(backend, 'free_shapes', backend.any_shape):
        raise InputError(f'height {height}: runtime {runtime} takes images of one size; leave it out, or take torch')
    if not isinstance(backend, FileBackend):
        segmentor = _segmentor(name, checkpoint)
        return load(segmentor, None, runtime, precision, tested_shape(segmentor.cfg), device)
    if of_index and made(folder := _cache(name, f'{runtime}_{precision}_{device}')):
        if not list(folder.glob(f'*{backend.suffix}')):
            logger.info('exporting %s for %s once; the file is kept in %s', name, runtime, folder)
            _export(name, None, backend.format, precision, folder)
        return load(next(folder.glob(f'*{backend.suffix}')), device=device)
    # Windows cannot remove a file that a runtime has mapped into memory.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as passing:
        return load(_export(name, checkpoint, backend.format, precision, Path(passing)), device=device)


def installed(device: str | None = None) -> list[str]:
    """Names of the runtimes for a model of the index whose packages are installed, the fastest first.

    Args:
        device: ``cpu`` or ``cuda``, where it is ``torch`` only; by default a GPU if PyTorch sees one.
    """
    from mmseg_bisenet.deploy.backends import RUNTIMES

    if (device or _device()) == 'cuda':
        return ['torch']
    needs = {name: RUNTIMES[name].needs(False) for name in FASTEST} | dict(torch=TORCH_NEEDS)
    return [name for name in FASTEST if all(map(find_spec, needs[name]))] or ['torch']


def _device() -> str:
    """``cuda`` if PyTorch sees a GPU. PyTorch is imported only if there may be one, because that takes seconds."""
    if shutil.which('nvidia-smi') and find_spec('torch'):
        import torch

        return 'cuda' if torch.cuda.is_available() else 'cpu'
    return 'cpu'


def _segmentor(model: str, checkpoint: str | Path | None):
    from mmseg_bisenet.zoo import get_model

    return get_model(model, checkpoint or True)


def _export(model: str, checkpoint: str | Path | None, format: str, precision: str, folder: Path) -> Path:
    from mmseg_bisenet.deploy.backends import FORMATS
    from mmseg_bisenet.deploy.export import export

    segmentor = _segmentor(model, checkpoint)
    shape, dynamic = tested_shape(segmentor.cfg), FORMATS[format].free_shapes
    return export(segmentor, format, precision, shape, folder, dynamic=dynamic, overwrite=True)


def tested_shape(cfg) -> tuple[int, int]:
    """Height and width that the test pipeline of a config resizes landscape images to.

    Raises:
        InputError: it does more with images than this package does for a network that runs alone.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    shape = tuple(cfg.crop_size)
    for step in [*(dataset.get('pipeline') or ()), *cfg.test_pipeline]:  # the size is that of the second
        name = step['type'].rpartition('.')[2] if isinstance(step['type'], str) else step['type'].__name__
        kept = STEPS.get(name, {})
        other = [key for key, value in kept.items() if step.get(key, value) != value]
        if name not in STEPS or other:
            text = f'{name}({", ".join(f"{key}={step[key]!r}" for key in other)})'
            raise InputError(f'config: its test pipeline has {text}, which predict does not apply; remove it')
        if name == 'Resize' and step.get('scale'):
            shape = min(step['scale']), max(step['scale'])
    return shape


def _cache(model: str, what: str) -> Path:
    """The folder of an exported model; another for other weights or another version of this package."""
    weights = model_index.find(model).weights
    key = f'{weights} {weights.stat().st_mtime_ns if isinstance(weights, Path) else ""} {__version__}'
    return cache_folder() / f'{model}_{what}_{hashlib.sha256(key.encode()).hexdigest()[:8]}'
