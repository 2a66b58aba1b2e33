"""The model index: the one source of names, configs and weights of the published models.

A wheel has it in ``mmseg_bisenet/.mim``, where mim looks too; a checkout has it beside the package.
"""

import difflib
import fnmatch
from dataclasses import dataclass
from pathlib import Path

import yaml

from mmseg_bisenet.errors import InputError


@dataclass(frozen=True)
class Entry:
    """A model of the index: ``config`` is a file that is there, ``weights`` a URL, a file of this package, or None."""

    name: str
    config: Path
    weights: str | Path | None


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
    files = yaml.safe_load((root / 'model-index.yml').read_text(encoding='utf-8'))['Import']
    models = [model for file in files for model in yaml.safe_load((root / file).read_text(encoding='utf-8'))['Models']]
    return {model['Name']: _entry(model, root) for model in models}


def _entry(model: dict, root: Path) -> Entry:
    shipped = Path(__file__).resolve().parent / 'weights' / f'{model["Name"]}.safetensors'
    weights = shipped if shipped.is_file() else model.get('Weights')
    return Entry(model['Name'], root / model['Config'], weights)


def find(name: str) -> Entry:
    """The model of exactly that name.

    Raises:
        InputError: there is none; the message has the nearest names.
    """
    everything = entries()
    if name not in everything:
        nearest = difflib.get_close_matches(name, everything, n=3, cutoff=0)
        raise InputError(
            f'model {name!r} is not in the model index; the nearest names are {", ".join(nearest)}, and '
            'mmseg_bisenet.list_models() gives all; the path of a config is taken too'
        )
    return everything[name]


def list_models(pattern: str = '*') -> list[str]:
    """Names for :func:`mmseg_bisenet.get_model`, those that match a shell pattern such as ``'*v2*cityscapes*'``."""
    return [name for name in entries() if fnmatch.fnmatchcase(name, pattern)]
