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
from typing import TYPE_CHECKING, Any

from mmseg_bisenet import __version__, model_index
from mmseg_bisenet.errors import InputError, require_texts
from mmseg_bisenet.files import cache_folder, made

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmseg_bisenet.deploy.predictor import Predictor as Segment

logger = logging.getLogger(__name__)
# In the order of their fp32 times in `results/runtimes_*_2-core-epyc*.csv`. Backends say what they need; `torch`
# convolves by numba.
TORCH_NEEDS = ('torch', 'mmseg', 'numba')
# Steps of a test pipeline whose work is done here or not needed, with the values that their arguments must have.
STEPS: dict[str, dict] = {
    'LoadImageFromFile': dict(color_type='color', to_float32=False),
    'Resize': dict(scale_factor=None, interpolation='bilinear', backend='cv2'),
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
    from mmseg_bisenet.deploy.backends import RUNTIMES, FileBackend, require
    from mmseg_bisenet.deploy.metadata import is_exported
    from mmseg_bisenet.deploy.packages import require_packages

    require_texts(runtime=runtime, precision=precision, device=device)
    model_index.require_name(model, 'a name of the model index, or the path of a config or of an exported file')
    if is_exported(model):
        segment = load(model, checkpoint, runtime, precision, device=device or 'cpu')
        if height and not segment.dynamic:
            size = f'{segment.shape[0]}x{segment.shape[1]}'
            raise InputError(f'height {height}: {model} takes {size} only; leave it out, or export with --dynamic')
        return segment
    name = str(model)
    of_index = checkpoint is None and name in model_index.entries()
    device = device or _device()
    if runtime is None:
        runtime = installed(device)[0] if of_index else 'torch'
    backend = RUNTIMES.get(runtime)
    if precision is None:
        precision = 'int8' if backend and backend.precisions == ('int8',) else 'fp32'
    if precision == 'int8':
        raise InputError(
            'int8 needs images to calibrate with; write a file with mmseg-bisenet export --precision int8, '
            'and give it with --model'
        )
    if height and backend and not getattr(backend, 'free_shapes', backend.any_shape):
        raise InputError(f'height {height}: runtime {runtime} takes images of one size; leave it out, or take torch')
    if not isinstance(backend, FileBackend):
        segmentor = _segmentor(name, checkpoint)
        shape, keeps_ratio = tested_size(segmentor.cfg)
        segment = load(segmentor, None, runtime, precision, shape, device)
        segment.dynamic &= keeps_ratio
        return _of_height(segment, height)
    if of_index and made(folder := _cache(name, f'{runtime}_{precision}_{device}')):
        for cached in folder.glob(f'*{backend.suffix}'):
            try:
                segment = load(cached, device=device)
            except InputError as error:
                logger.warning('%s; now it is exported again', error)
            else:
                return _of_height(segment, height)
        require(runtime, precision, device)
        require_packages(*backend.needs(False))
        logger.info('exporting %s for %s once; the file is kept in %s', name, runtime, folder)
        return _of_height(load(_export(name, None, backend.format, precision, folder), device=device), height)
    # Windows cannot remove a file that a runtime has mapped into memory.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as passing:
        exported = _export(name, checkpoint, backend.format, precision, Path(passing))
        return _of_height(load(exported, device=device), height)


def _of_height(segment: 'Segment', height: int | None) -> 'Segment':
    """Refuse a height if the test resizes images of all shapes to one size."""
    if height and not segment.dynamic:
        size = f'{segment.shape[0]}x{segment.shape[1]}'
        raise InputError(
            f'height {height}: the test pipeline resizes all images to {size} (keep_ratio=False); leave it out'
        )
    return segment


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


def _segmentor(model: str, checkpoint: str | Path | None) -> Any:
    from mmseg_bisenet.zoo import get_model

    return get_model(model, checkpoint or True)


def _export(model: str, checkpoint: str | Path | None, format: str, precision: str, folder: Path) -> Path:
    from mmseg_bisenet.deploy.backends import FORMATS
    from mmseg_bisenet.deploy.export import export

    segmentor = _segmentor(model, checkpoint)
    shape, keeps_ratio = tested_size(segmentor.cfg)
    dynamic = keeps_ratio and FORMATS[format].free_shapes
    return export(segmentor, format, precision, shape, folder, dynamic=dynamic, overwrite=True)


def tested_size(cfg: 'Config') -> tuple[tuple[int, int], bool]:
    """What a test with a config resizes images to, by the pipeline of ``test_dataloader.dataset``.

    A config without that data set has ``test_pipeline`` instead, as stock configs that only predict.

    Returns:
        Height and width of landscape images, and whether images of other shapes keep theirs and have this height.

    Raises:
        InputError: the pipeline does more with images than this package does for a network that runs alone.
    """
    from mmseg_bisenet.config.fields import CROP  # it needs MMEngine, which exported files do not

    pipelines = _pipelines((cfg.get('test_dataloader') or {}).get('dataset')) or [cfg.get('test_pipeline') or []]
    size = None
    for step in pipelines[0]:
        name = step['type'].rpartition('.')[2] if isinstance(step['type'], str) else step['type'].__name__
        kept = STEPS.get(name, {})
        other = [key for key, value in kept.items() if step.get(key, value) != value]
        if name not in STEPS or other or (name == 'Resize' and size):
            text = f'{name}({", ".join(f"{key}={step[key]!r}" for key in other)})'
            raise InputError(f'config: its test pipeline has {text}, which predict does not apply; remove it')
        if name == 'Resize':
            scale: Any = step.get('scale')
            if not CROP[0](scale):
                raise InputError(f'config: Resize of its test pipeline has scale={scale!r}; give a width and a height')
            width, height = [scale] * 2 if isinstance(scale, int) else scale
            keeps = step.get('keep_ratio', False)
            size = (min(width, height), max(width, height)) if keeps else (height, width), keeps
    if any(pipeline != pipelines[0] for pipeline in pipelines):
        raise InputError('config: the data sets of test_dataloader have different pipelines; predict with one of them')
    if size is None:
        raise InputError(
            'config: its test pipeline has no Resize, and predict would not know the size; add one, such as '
            "dict(type='Resize', scale=(2048, 1024), keep_ratio=True)"
        )
    return size


def _pipelines(dataset: Any) -> list[list[dict]]:
    """The pipeline of each data set that is no wrapper, such as ConcatDataset."""
    if not dataset:
        return []
    inner = [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets', [])
    own = [dataset['pipeline']] if dataset.get('pipeline') else []
    return [pipeline for one in inner for pipeline in _pipelines(one)] + own


def _cache(model: str, what: str) -> Path:
    """The folder of an exported model; another for other weights or another version of this package."""
    weights = model_index.find(model).weights
    key = f'{weights} {weights.stat().st_mtime_ns if isinstance(weights, Path) else ""} {__version__}'
    return cache_folder() / f'{model}_{what}_{hashlib.sha256(key.encode()).hexdigest()[:8]}'
