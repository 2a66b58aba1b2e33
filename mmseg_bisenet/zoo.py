"""Networks by name, ready for images.

    import mmseg_bisenet
    from mmseg.apis import inference_model

    model = mmseg_bisenet.get_model('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024', pretrained=True)
    labels = inference_model(model, 'street.png').pred_sem_seg.data  # (1, H, W), of the image's own size

Names, configs and weights are those of the model index (:mod:`mmseg_bisenet.model_index`).
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import Tensor

from mmseg_bisenet import model_index
from mmseg_bisenet.checkpoints import read
from mmseg_bisenet.checkpoints.fetching import fetch
from mmseg_bisenet.checkpoints.files import listed, require_names
from mmseg_bisenet.checkpoints.fit import (
    CONVERT,
    build_model,
    classifiers_of_others,
    has_boosters,
    mismatches,
    without_boosters,
)
from mmseg_bisenet.config import check as config_check
from mmseg_bisenet.config.errors import building
from mmseg_bisenet.errors import InputError, require_flags, short
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.palette import colours_for, distinct
from mmseg_bisenet.registry import DATASETS
from mmseg_bisenet.surroundings import own_settings

logger = logging.getLogger(__name__)


@own_settings()
def get_model(
    name: str,
    pretrained: bool | str | Path = False,
    num_classes: int | None = None,
    *,
    boosters: bool = False,
    device: str | torch.device = 'cpu',
) -> BiSeNetSegmentor:
    """The segmentor of that name, in eval mode, with batch norm instead of SyncBN.

    ``mmseg.apis.inference_model`` runs it on an image file, or on an array (H, W, 3) of uint8, BGR; one
    model takes either files or arrays, because it changes its pipeline for arrays. ``model(x)`` maps normalised
    RGB images (N, 3, H, W) to logits (N, num_classes, H/8, W/8); ``model.data_preprocessor`` normalises.
    It is in float32, whatever the default dtype and device of PyTorch are.
    ``model.cfg`` is the config. ``model.dataset_meta`` has the names (``classes``) and colours (``palette``) of the
    classes.

    Args:
        name: a name of :func:`mmseg_bisenet.list_models` or MMSegmentation 0.x's name of it, or the path of a config.
        pretrained: True for the weights of the model index, or the path of a checkpoint (``.pth`` or
            ``.safetensors``). By default weights are random, as the config initialises them; the ImageNet weights that
            some configs start training from are not fetched.
        num_classes: by default the config's. With weights of another number of classes, only the classifiers
            (``conv_seg``) stay random; one log message names them.
        boosters: keep the auxiliary heads, for further training.
        device: of the model.

    Raises:
        InputError: there is no such name; the config is wrong; the index has no weights, or they cannot be fetched;
            the file is no checkpoint of this network; there is no GPU for ``device``.
    """
    if not isinstance(device, str | torch.device):
        raise InputError(f"device={short(repr(device))}: give 'cpu' or 'cuda'")
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device={short(repr(device))} is not known; give 'cpu' or 'cuda'") from error
    if str(device).partition(':')[0] == 'cuda' and not torch.cuda.is_available():
        raise InputError(f"device '{device}': PyTorch sees no GPU; install its build for CUDA, or give device='cpu'")
    require_flags(boosters=boosters)
    entry = _entry(name)
    source = _weights(entry, pretrained)
    cfg = _config(entry, num_classes, boosters)
    # Types without a scope are MMSegmentation's, whatever scope the caller has set.
    with DefaultScope.overwrite_default_scope('mmseg'):
        with _quiet(), building('model', cfg):
            model: Any = build_model(cfg.model)
            model.init_weights()  # a Runner that gets this model does not initialise it again
        metas = _metas_of_data(cfg)
    if source:
        checkpoint = read(source)
        _load(model, checkpoint.state_dict, source, may_change_classes=num_classes is not None)
        if num_classes is None:
            require_names(checkpoint, model.num_classes, source)
        metas = [checkpoint.dataset_meta, *metas]
    model.cfg = cfg
    model.dataset_meta = _dataset_meta(metas, model.num_classes)
    return model.eval().to(device)


def _entry(name: str) -> model_index.Entry:
    model_index.require_name(name)
    path = Path(name)
    if path.suffix == '.py' and path.is_file():
        return model_index.Entry(path.stem, path, weights=None)
    return model_index.find(model_index.today(str(name)))


# -- config ------------------------------------------------------------------------------------------------------------


def _config(entry: model_index.Entry, num_classes: int | None, boosters: bool) -> Config:
    cfg = config_check.read(entry.config)
    if 'model' not in cfg:
        raise InputError(f'config {entry.config} has no `model`; give a config of a segmentor')
    if num_classes is not None and isinstance(cfg.model, dict):  # otherwise the check says what it is
        cfg.model['num_classes'] = num_classes
    config_check.check(cfg, 'model', 'test_pipeline', 'test_dataloader')
    if not boosters:
        cfg.model.auxiliary_head = None
    _for_one_process(cfg.model)
    for step in cfg.get('test_pipeline') or ():
        step.setdefault('_scope_', 'mmseg')  # `inference_model` builds it in the scope of its caller
    return cfg


def _for_one_process(node: object) -> None:
    """In a tree of cfgs, replace SyncBN by BN, and remove each ``init_cfg`` that would fetch weights."""
    if isinstance(node, list | tuple):
        for item in node:
            _for_one_process(item)
    elif isinstance(node, dict):
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'
        init_cfg = node.get('init_cfg')
        if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
            del node['init_cfg']
        for item in node.values():
            _for_one_process(item)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide mmseg's warnings about its own code, and mmengine's log line for each parameter that it initialises."""

    def warnings_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    mmengine = MMLogger.get_current_instance()
    mmengine.addFilter(warnings_only)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', module=r'mmseg\.')
            yield
    finally:
        mmengine.removeFilter(warnings_only)


def _metas_of_data(cfg: Config) -> list[dict]:
    """Names and colours of the data set that the config tests on, if it is known."""
    kind: Any = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('type')
    kind = DATASETS.get(kind) if kind and isinstance(kind, str) else kind
    return [kind.METAINFO] if hasattr(kind, 'METAINFO') else []


def _dataset_meta(metas: list[dict], num_classes: int) -> dict:
    """Names and colours of the classes: the first for ``num_classes`` classes, or else numbers.

    Without colours, they get those of the same names, or else colours of our own.
    """
    named = [meta for meta in metas if len(meta.get('classes') or ()) == num_classes]
    if named:
        classes = tuple(named[0]['classes'])
        palettes = (meta.get('palette') for meta in named if tuple(meta['classes']) == classes)
        palette = next((palette for palette in palettes if palette is not None and len(palette)), None)
        return dict(classes=classes, palette=colours_for(num_classes, palette))
    return dict(classes=tuple(map(str, range(num_classes))), palette=distinct(num_classes))


# -- weights -----------------------------------------------------------------------------------------------------------


def _weights(entry: model_index.Entry, pretrained: bool | str | Path) -> Path | None:
    """The file to load; weights of the index are fetched."""
    if pretrained is False:
        return None
    if isinstance(pretrained, str | Path):
        return Path(pretrained)
    if pretrained is not True:
        raise InputError(f'pretrained={pretrained!r}: give True, False or the path of a checkpoint')
    return Path(fetch(str(model_index.weights(entry))))


def _load(model: BiSeNetSegmentor, state_dict: dict[str, Tensor], path: Path, may_change_classes: bool) -> None:
    """Load every tensor except classifiers of another number of classes, which stay as they were initialised."""
    own = model.state_dict()
    given = without_boosters(state_dict, own)
    classifiers = classifiers_of_others(given, own)
    if text := listed(mismatches(given, own, but=classifiers if may_change_classes else ())):
        fix = 'name the model that it was trained as'
        if classifiers and not listed(mismatches(given, own, but=classifiers)):
            fix = 'name the config that it was trained with (get_model with num_classes starts the classifiers anew)'
        if has_boosters(own) and not has_boosters(given):
            fix = 'leave boosters=True out, for these weights have none'
        if given.keys().isdisjoint(own):
            fix = CONVERT
        raise InputError(f'checkpoint {path} does not fit: {text}; {fix}')
    model.load_state_dict({**own, **{key: value for key, value in given.items() if key not in classifiers}})
    if classifiers:
        logger.warning(
            're-initialised for %d classes, as %s has %d: %s',
            model.num_classes,
            path,
            len(given[classifiers[0]]),
            ', '.join(classifiers),
        )
