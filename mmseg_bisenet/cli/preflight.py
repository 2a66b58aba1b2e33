"""Checks before a command starts its work, so that an error comes at once and nothing is written before it.

Data sets and networks are built, and checkpoints read, in order to check them. The results go to
:func:`mmseg_bisenet.cli.launch.build_runner`, so that nothing is built or read twice.
"""

import inspect
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from torch import nn

from mmseg_bisenet.checkpoints import files as checkpoint_files
from mmseg_bisenet.checkpoints.files import listed, read
from mmseg_bisenet.checkpoints.fit import (
    AUXILIARY,
    CONVERT,
    build_model,
    classifiers_of_others,
    mismatches,
    without_boosters,
)
from mmseg_bisenet.config.errors import building
from mmseg_bisenet.config.rules import class_of, metrics
from mmseg_bisenet.data.agreement import check_agreement
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import Identity, check_input, check_output, require_writable
from mmseg_bisenet.palette import fault_of_names
from mmseg_bisenet.registry import DATASETS

METRIC = 'mmseg_bisenet.SegmentationMetric'
KEEP_GOING = 'mmseg_bisenet.SkipUnreadableDataset'
# By its key in the config, such as ``test_dataloader.dataset``.
DataSets = dict[str, BaseSegDataset]

# -- files -------------------------------------------------------------------------------------------------------------


def require_file(option: str, path: str | None, overwrite: bool, inputs: Collection[Identity] = ()) -> None:
    """Refuse a file that cannot be written, exists already, or is one of the inputs."""
    if not path:
        return
    check_output(path, overwrite, fix=f'name another with {option}', inputs=inputs)
    require_writable(option, str(Path(path).parent))


def require_checkpoint(path: str) -> None:
    """Refuse a local checkpoint that does not exist."""
    if '://' not in path:
        checkpoint_files.require_file(path)


# -- data sets ---------------------------------------------------------------------------------------------------------


def check_data(cfg: Config, *dataloaders: str) -> DataSets:
    """Refuse data sets that have no images, or other classes than the model or one another.

    Returns:
        The data sets, without their pipelines.

    Raises:
        InputError: it names the folder or the data set, and the options that set it; or a dataloader that the config
            lacks.
    """
    _require_folders(_leaves(cfg, *dataloaders))
    datasets = find_datasets(cfg, *dataloaders)
    for key, dataset in datasets.items():
        classes, wanted = dataset.metainfo.get('classes'), cfg.model.get('num_classes')
        if fault := fault_of_names(dict(classes=classes, palette=classes and dataset.metainfo.get('palette'))):
            raise InputError(f'{key}.metainfo {fault}; fix it')
        if classes and wanted and len(classes) != wanted:
            raise InputError(
                f'{key} has {len(classes)} classes, and model.num_classes is {wanted}; set it to {len(classes)}, or '
                f'{key}.metainfo.classes to those of the model'
            )
        if dataset.ann_file and not Path(dataset.ann_file).exists() and not dataset.backend_args:
            raise InputError(
                f'{key}.ann_file: {dataset.ann_file} does not exist; fix it, or set it to "" to take all images'
            )
        if dataset.ann_file:
            check_input(dataset.ann_file)
            if not key.startswith('train_dataloader') and Path(dataset.ann_file).is_file():
                _check_listed(key, dataset)
        try:
            is_empty = _is_empty(dataset)
        except IndexError as error:
            raise InputError(f'{key}.indices lists images that it does not have; fix it') from error
        if is_empty:
            listed_in = (
                f'{dataset.ann_file} lists none' if dataset.ann_file and Path(dataset.ann_file).is_file() else ''
            )
            reason = listed_in or f'no file in {dataset.data_prefix.get("img_path")} ends in {dataset.img_suffix}'
            raise InputError(f'{key} has no image: {reason}; fix its img_suffix, data_prefix or ann_file')
    check_agreement(datasets)
    return datasets


def _check_listed(key: str, dataset: BaseSegDataset) -> None:
    """Refuse a list with an empty line, or with an image twice, which would count twice in the scores."""
    paths = Counter(os.path.normpath(item['img_path']) for item in dataset.load_data_list() if 'img_path' in item)
    if any(Path(path).name == dataset.img_suffix for path in paths):
        raise InputError(f'{key}.ann_file: {dataset.ann_file} has an empty line; remove it')
    if twice := [path for path, count in paths.items() if count > 1]:
        raise InputError(f'{key}.ann_file: {dataset.ann_file} lists {twice[0]} {paths[twice[0]]} times; list it once')


def find_datasets(cfg: Config, *dataloaders: str) -> DataSets:
    """Build the data sets inside wrappers such as ConcatDataset, without their pipelines. No file is looked for yet.

    Raises:
        InputError: the config lacks a dataloader, or a data set cannot be built.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        found = {}
        for key, dataset in _leaves(cfg, *dataloaders).items():
            with building(key, cfg):
                found[key] = DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True})
    return found


def check_zero_label(cfg: Config, datasets: DataSets) -> None:
    """Compare ``reduce_zero_label`` of a test with that of the training, whose data sets are not built.

    Raises:
        InputError: they differ, so ids are of other classes than those that the weights were trained for.
    """
    trained: dict[str, Any] = {}
    for key, leaf in _leaves(cfg, 'train_dataloader').items() if cfg.get('train_dataloader') else ():
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
            kind = class_of(leaf, DATASETS) or BaseSegDataset
        default = inspect.signature(kind).parameters.get('reduce_zero_label')
        value = leaf.get('reduce_zero_label', default.default if default else False)
        trained[key] = SimpleNamespace(metainfo={}, reduce_zero_label=value)
    check_agreement(trained | datasets)


def _leaves(cfg: Config, *dataloaders: str) -> dict[str, ConfigDict]:
    """The cfg of each data set that is no wrapper, by its key."""
    found: dict[str, Any] = {}
    for name in dataloaders:
        require_dataset(cfg, name)
        replace_leaves(cfg[name].dataset, f'{name}.dataset', lambda key, leaf: found.setdefault(key, leaf))
    return found


def require_dataset(cfg: Config, dataloader: str) -> None:
    """Refuse a config without the data set of a dataloader."""
    if not (cfg.get(dataloader) and cfg[dataloader].get('dataset')):
        raise InputError(f'the config has no {dataloader}.dataset; take one of configs/_base_/datasets among its bases')


def replace_leaves(dataset: dict, key: str, replace: Callable[[str, dict], dict]) -> dict:
    """A copy of the cfg of a data set, in which each data set that is no wrapper is replaced.

    Args:
        dataset: the cfg.
        key: of ``dataset`` in the config.
        replace: gets the key and the cfg of a data set, and returns another cfg.
    """
    # Data that are not in folders have a backend of their own, with its own errors.
    if 'data_prefix' in dataset and not dataset.get('backend_args'):
        return replace(key, dataset)
    dataset = dict(dataset)
    if 'dataset' in dataset:
        # --keep-going adds its wrapper, which is not in the keys that users write.
        inner = key if dataset.get('type') == KEEP_GOING else f'{key}.dataset'
        dataset['dataset'] = replace_leaves(dataset['dataset'], inner, replace)
    if 'datasets' in dataset:
        dataset['datasets'] = [
            replace_leaves(inner, f'{key}.datasets.{i}', replace) for i, inner in enumerate(dataset['datasets'])
        ]
    return dataset


def _require_folders(datasets: dict[str, ConfigDict]) -> None:
    """Refuse folders that don't exist or are empty."""
    wrong = []
    for key, dataset in datasets.items():
        root = Path(dataset.get('data_root') or '')
        for prefix in dict.fromkeys(value for value in (dataset.get('data_prefix') or {}).values() if value):
            folder = root / prefix
            if not folder.is_dir() or not any(folder.iterdir()):
                wrong.append((folder, key, root))
    if wrong:
        folder, _, root = wrong[0]
        state = 'is empty' if folder.is_dir() else 'does not exist'
        options = ' '.join(dict.fromkeys(f'{key}.data_root=DIR' for _, key, _ in wrong))
        raise InputError(
            f'data folder {folder} {state}; make or link {root}, set the environment variable MMSEG_BISENET_DATA to '
            f'the folder that holds {root.name}, or --cfg-options {options}'
        )


def _is_empty(dataset: BaseSegDataset) -> bool:
    try:
        dataset.full_init()
    except ValueError as error:
        if 'at least one array' in str(error):  # mmengine raises this if it found no image
            return True
        raise
    return not len(dataset)


def use_our_loaders(cfg: Config, datasets: DataSets) -> None:
    """Replace stock loaders of the test by ours, which read the same and name a file that is wrong."""
    ours = [metric for metric in metrics(cfg, 'test_evaluator') if metric.type == METRIC]
    for key, dataset in _leaves(cfg, 'test_dataloader').items():
        options: dict[str, dict] = dict(LoadImageFromFile={})
        # Stock metrics leave out ids that are no class, so with them such a label stays right.
        if ours and (classes := datasets[key].metainfo.get('classes')):
            labels = dict(num_classes=len(classes), ignore_index=ours[0].get('ignore_index', 255))
            options['LoadAnnotations'] = labels
        _replace_loaders(dataset.get('pipeline'), cfg.get('default_scope', 'mmseg'), options)


def _replace_loaders(node: object, scope: str, options: dict[str, dict]) -> None:
    if isinstance(node, list | tuple):
        for item in node:
            _replace_loaders(item, scope, options)
    elif isinstance(node, dict):
        prefix, _, name = str(node.get('type')).rpartition('.')
        if name in options and (prefix or node.get('_scope_', scope)) == 'mmseg':
            node.update(options[name], type=name, _scope_='mmseg_bisenet')
        _replace_loaders(list(node.values()), scope, options)


# -- model and checkpoint ----------------------------------------------------------------------------------------------


def drop_boosters(cfg: Config) -> None:
    """Build the model for prediction, without auxiliary heads. Checkpoints that have them load all the same."""
    if cfg.model.type == 'mmseg_bisenet.BiSeNetSegmentor':
        cfg.model.auxiliary_head = None


def load_model(cfg: Config, path: str, datasets: DataSets) -> nn.Module:
    """Build the model and load the checkpoint.

    A checkpoint of another network is refused: mmengine would load the tensors that fit and leave the others random.

    Args:
        cfg: the config.
        path: of the checkpoint.
        datasets: those that the model is for.

    Raises:
        InputError: it lists tensors that are missing, unexpected or of another shape; or says how the checkpoint's
            classes differ from those of a data set.
    """
    checkpoint = read(path)
    model = build_model(cfg.model, cfg.get('default_scope', 'mmseg'))
    own = {key: value for key, value in model.state_dict().items() if not key.startswith(AUXILIARY)}
    given = without_boosters(checkpoint.state_dict, own)
    fix = 'give the config that trained it'
    if text := listed(mismatches(given, own)):
        classifiers = classifiers_of_others(given, own)
        if classifiers and not listed(mismatches(given, own, but=classifiers)):
            key = classifiers[0]
            raise InputError(f'checkpoint {path} has {len(given[key])} classes, and the config {len(own[key])}; {fix}')
        if given.keys().isdisjoint(own):
            fix = CONVERT
        raise InputError(f'checkpoint {path} is not of this config: {text}; {fix}')
    require_same_classes(f'checkpoint {path}', checkpoint.dataset_meta.get('classes') or (), datasets, fix)
    model.load_state_dict(given, strict=False)  # all but auxiliary heads, which a test does not run
    return model


def require_same_classes(name: str, trained: Sequence[str], datasets: DataSets, fix: str) -> None:
    """Check the classes of weights, none if unknown, against those of data sets.

    Args:
        name: of the checkpoint or the exported file, for the message.

    Raises:
        InputError: it says how they differ.
    """
    for key, dataset in datasets.items():
        classes = dataset.metainfo.get('classes') or trained
        if trained and len(trained) != len(classes):
            raise InputError(f'{name} has {len(trained)} classes, and {key} has {len(classes)}; {fix}')
        for i, (theirs, ours) in enumerate(zip(trained, classes, strict=False)):
            if theirs != ours:
                raise InputError(
                    f'class {i} of {name} is {theirs}, and {ours} in the data set; {fix}, or set '
                    f'{key}.metainfo.classes in the order of the weights'
                )
