"""The model index: the one source of names, configs, scores and weights of the published models.

A wheel has it in ``mmseg_bisenet/.mim``, as mim expects; a checkout has it beside the package.
"""

import difflib
import fnmatch
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from mmseg_bisenet.errors import InputError

SIZE = '1024x2048'  # height and width of the image that the metafiles count multiply-adds for
OLD_NAME = re.compile(
    r'(bisenetv1_r\d+-d32|bisenetv2_fcn)(?:_(in1k-pre|ohem|fp16))?(?:_lr5e-3)?_(\d+)x(\d+)_(\d+x\d+)_(\d+k)_(.+)'
)

CONFIGS = '.py', '.json', '.yaml', '.yml'  # as MMEngine reads them
NO_CONFIG = (
    'is a file, but no config, whose name ends in .py; an exported file is read by Predictor, by '
    'mmseg_bisenet.deploy.load and by mmseg-bisenet predict --model, if its name ends in .onnx or as it was exported'
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A model of the index. What the index does not say is None.

    Args:
        name: as :func:`mmseg_bisenet.get_model` takes it.
        config: path of an existing file.
        weights: URL, or path of a file of this package.
        data: name of the data set that it is trained on.
        miou: of single-scale evaluation, in percent.
        miou_flip: with several scales and flips, in percent.
        parameters: in millions, without auxiliary heads.
        multiply_adds: in billions, for one image of ``SIZE``, without auxiliary heads.
    """

    name: str
    config: Path
    weights: str | Path | None = None
    data: str = ''
    miou: float | None = None
    miou_flip: float | None = None
    parameters: float | None = None
    multiply_adds: float | None = None


def folder() -> Path:
    """The folder of ``model-index.yml`` and ``configs``.

    Raises:
        InputError: the package was installed without them.
    """
    package = Path(__file__).resolve().parent
    for root in (package / '.mim', package.parent):
        if (root / 'model-index.yml').is_file():
            return root
    raise InputError(
        f'no model-index.yml in {package / ".mim"} or {package.parent}; reinstall mmseg_bisenet from its wheel, or '
        'from a whole checkout'
    )


def entries() -> dict[str, Entry]:
    """Every model by its name, in the order of the index."""
    root = folder()
    models = [model for file in _read(root / 'model-index.yml')['Import'] for model in _read(root / file)['Models']]
    return {model['Name']: _entry(model, root) for model in models}


def _read(path: Path) -> dict:
    # The loader in C is six times as fast; PyYAML can be built without it.
    return yaml.load(path.read_text(encoding='utf-8'), getattr(yaml, 'CSafeLoader', yaml.SafeLoader))


def _entry(model: dict, root: Path) -> Entry:
    shipped = Path(__file__).resolve().parent / 'weights' / f'{model["Name"]}.safetensors'
    metadata = model.get('Metadata', {})
    metrics = model['Results'][0]['Metrics'] if model.get('Results') else {}
    return Entry(
        name=model['Name'],
        config=root / model['Config'],
        weights=shipped if shipped.is_file() else model.get('Weights'),
        data=metadata.get('Training Data', ''),
        miou=metrics.get('mIoU'),
        miou_flip=metrics.get('mIoU(ms+flip)'),
        parameters=metadata.get('Parameters (M)'),
        multiply_adds=metadata.get('Multiply-adds (G)'),
    )


def renamed(name: str) -> str | None:
    """The name here of a config of MMSegmentation 0.x, which wrote GPUs and images as ``4x4`` and the crop first.

    Args:
        name: with or without folders and ``.py``.

    Returns:
        None if it is no such name, or no config here has its network and schedule.
    """
    old = OLD_NAME.fullmatch(Path(name).name.removesuffix('.py'))
    if old is None:
        return None
    network, variant, gpus, images, crop, schedule, data = old.groups()
    start = f'-{variant}' if variant == 'in1k-pre' else ''
    kind = {'ohem': '-ohem', 'fp16': '-amp'}.get(variant, '')
    new = f'{network}{start}_{gpus}xb{images}{kind}-{schedule}_{data}-{crop}'
    return new if new in entries() else None


def today(name: str) -> str:
    """``name``, or its name here if it is one of MMSegmentation 0.x, and a line that says so."""
    new = renamed(name)
    if new is None:
        return name
    logger.warning('%s is a name of MMSegmentation 0.x; the config is called %s now', name, new)
    return new


def require_name(value: object, wanted: str = 'a name of the model index, or the path of a config') -> None:
    """Raises:
    InputError: it is neither a text nor a path.
    """
    if not isinstance(value, str | Path):
        raise InputError(f'model of type {type(value).__name__}: give {wanted}')


def find(name: str | Path) -> Entry:
    """The model of exactly that name.

    Raises:
        InputError: there is none; the message has the nearest names.
    """
    everything, name = entries(), str(name)
    if name not in everything and Path(name).is_file():
        raise InputError(f'model {name} {NO_CONFIG}')
    if name not in everything:
        raise InputError(
            f'model {name!r} is not in the model index; the nearest names are {nearest(name, everything)}, and '
            'mmseg_bisenet.list_models() gives all; the path of a config works too'
        )
    return everything[name]


def find_config(name: str) -> Path:
    """The path of a config: ``name`` itself, or the package's own config of that file name, model name or 0.x name.

    Raises:
        InputError: there is none, or the file is none by its name.
    """
    if Path(name).is_file():
        if Path(name).suffix not in CONFIGS:
            raise InputError(f'{name} {NO_CONFIG}')
        return Path(name)
    root = folder() / 'configs'
    known = {path.stem: path for path in root.glob('bisenet*/*.py')}
    known |= {name: entry.config for name, entry in entries().items()}
    name = today(name)
    if name.removesuffix('.py') in known:
        return known[name.removesuffix('.py')]
    raise InputError(
        f'config {name} is neither a file nor the name of a config in {root}; the nearest names are '
        f'{nearest(Path(name).stem, known)}, and mmseg-bisenet list shows the models'
    )


def nearest(name: str, names: Iterable[str]) -> str:
    """The three names that are most like a wrong one, in one line."""
    return ', '.join(difflib.get_close_matches(name, names, n=3, cutoff=0))


def weights(entry: Entry) -> str | Path:
    """URL or path of the weights of a model.

    Raises:
        InputError: the index has none.
    """
    if entry.weights is None:
        raise InputError(
            f'model {entry.name} has no weights in the model index; train its config, or give the path of a checkpoint'
        )
    return entry.weights


def list_models(pattern: str = '*') -> list[str]:
    """Names for :func:`mmseg_bisenet.get_model` that match a shell pattern such as ``'*v2*cityscapes*'``.

    Raises:
        InputError: the pattern is no text.
    """
    if not isinstance(pattern, str):
        raise InputError(f"pattern={pattern!r}: give a text such as '*v2*'")
    return [name for name in entries() if fnmatch.fnmatchcase(name, pattern)]
