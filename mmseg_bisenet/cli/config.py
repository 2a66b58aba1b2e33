"""What ``train``, ``test`` and ``benchmark`` do to a config before a runner is built from it."""

import argparse
import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlparse

import matplotlib
import mmcv.cnn  # noqa: F401  it registers SyncBN, which `launch` may replace
import mmengine.fileio
import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from mmseg.datasets import BaseSegDataset
from torch import nn

from mmseg_bisenet import model_index
from mmseg_bisenet.checkpoints.files import SAFETENSORS, listed, read
from mmseg_bisenet.checkpoints.fit import AUXILIARY, build_state_dict, classifiers_of_others, misfits, without_boosters
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import DATASETS

METRIC = 'mmseg_bisenet.SegmentationMetric'


class CfgOptions(DictAction):
    """mmengine's action, whose failures are a line of usage."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list, *others) -> None:
        try:
            super().__call__(parser, namespace, values, *others)
        except (ValueError, AssertionError) as error:
            parser.error(f'--cfg-options {" ".join(values)}: {error}; write KEY=VALUE')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every command on a config has, spelled as in MMSegmentation's scripts."""
    parser.add_argument('config', help='path of a config, or the bare name of one of this package')
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and scores')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE', help='override the config'
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torch.distributed.launch passes it to each process; mmengine reads the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load(args: argparse.Namespace) -> Config:
    """Read the config, with the command line's options in it.

    Raises:
        InputError: no such config, or one that cannot be read.
    """
    path = find(args.config)
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(args.cfg_options)
    except Exception as error:  # a config is a program, and raises anything
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'config {path} cannot be read: {reason}; mend it, or --cfg-options') from error
    if 'model' not in cfg:
        raise InputError(f'config {path} has no `model`; is it one of the bases?')
    if cfg.model.get('num_classes'):
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'tta_pipeline'):
            _follow(cfg.get(name), cfg.model.num_classes)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or os.path.join('work_dirs', path.stem)
    return cfg


def _follow(node: object, num_classes: int) -> None:
    """Let each check of labels know the model's number of classes: it is set in one place."""
    if isinstance(node, list | tuple):
        for item in node:
            _follow(item, num_classes)
    elif isinstance(node, dict):
        if node.get('type') == 'LoadAnnotations' and 'num_classes' in node:
            node['num_classes'] = num_classes
        for item in node.values():
            _follow(item, num_classes)


def find(name: str) -> Path:
    """The config of that path, or else of that file name, or model, among the package's own."""
    if Path(name).is_file():
        return Path(name)
    root = model_index.folder() / 'configs'
    known = {path.stem: path for path in root.glob('bisenet*/*.py')}
    known |= {name: entry.config for name, entry in model_index.entries().items()}
    if name.removesuffix('.py') in known:
        return known[name.removesuffix('.py')]
    raise InputError(f'config {name} is neither a file nor the bare name of a config in {root}; check the spelling')


def require_file(option: str, path: str | None) -> None:
    """Refuse a file that cannot be written, before the work rather than after it."""
    if not path:
        return
    if Path(path).is_dir():
        raise InputError(f'{option} {path} is a folder; name a file')
    require_writable(option, str(Path(path).parent))


def require_checkpoint(path: str) -> None:
    if not Path(path).is_file() and '://' not in path:
        raise InputError(f'checkpoint {path} does not exist; give the path of a .pth or .safetensors file')


def fetched(path: str) -> str:
    """The path of a local file; of a URL, the path of what it gave when it was first asked for.

    Raises:
        InputError: the URL gives nothing.
    """
    if '://' not in path:
        return path
    name = Path(urlparse(path).path).name
    # Beside PyTorch's own downloads; their names alone would take two iter_160000.pth for one.
    local = Path(torch.hub.get_dir(), 'checkpoints', f'{hashlib.sha256(path.encode()).hexdigest()[:8]}-{name}')
    if not local.is_file():
        partial = local.with_name(f'.{local.name}.{os.getpid()}.partial')
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(mmengine.fileio.get(path))
        except Exception as error:  # each storage backend raises its own
            reason = ' '.join(str(error).split())
            raise InputError(
                f'checkpoint {path} cannot be fetched ({reason}); fetch it by other means and give the path of the file'
            ) from error
        partial.rename(local)
    return str(local)


@CheckpointLoader.register_scheme(prefixes=rf'.*\{SAFETENSORS}$')
def load_from_safetensors(filename: str, map_location: str | torch.device | None) -> dict:
    """What mmengine gets for such a path; its prefixes are regular expressions."""
    checkpoint = read(filename)
    return dict(state_dict=checkpoint.state_dict, meta=checkpoint.meta)


def require_fit(cfg: Config, path: str) -> None:
    """Refuse a checkpoint of another network, for mmengine would load what fits and score the rest at random.

    Raises:
        InputError: it lists tensors that are missing, too many or of another shape; or says how its classes differ from
            those of ``test_dataloader``.
    """
    checkpoint = read(fetched(path))
    own = build_state_dict(cfg.model, cfg.get('default_scope', 'mmseg'))
    own = {key: value for key, value in own.items() if not key.startswith(AUXILIARY)}  # never run in a test
    given = without_boosters(checkpoint.state_dict, own)
    cure = 'give the config that trained it'
    if text := listed(misfits(given, own)):
        classifiers = classifiers_of_others(given, own)
        if classifiers and not listed(misfits(given, own, but=classifiers)):
            key = classifiers[0]
            raise InputError(f'checkpoint {path} has {len(given[key])} classes, and the config {len(own[key])}; {cure}')
        raise InputError(f'checkpoint {path} is not of this config: {text}; {cure}')
    trained = list(checkpoint.dataset_meta.get('classes') or ())
    for key, dataset in _datasets(cfg.test_dataloader.dataset, 'test_dataloader.dataset'):
        classes = list(_build(dataset, cfg).metainfo.get('classes') or trained)
        if trained and len(trained) != len(classes):
            raise InputError(f'checkpoint {path} is of {len(trained)} classes, and {key} has {len(classes)}; {cure}')
        for i, (theirs, ours) in enumerate(zip(trained, classes, strict=False)):
            if theirs != ours:
                raise InputError(
                    f'class {i} of checkpoint {path} is {theirs}, and {ours} in the data set; {cure}, or set '
                    f'{key}.metainfo.classes in the order of the checkpoint'
                )


def require_display() -> None:
    """Refuse to show pictures where mmengine's visualizer, which leaves the choice to Matplotlib, has no window."""
    if matplotlib.get_backend().lower() == 'agg':
        raise InputError(
            '--show needs a display, and a toolkit that Matplotlib can open windows with; use --show-dir DIR'
        )


def require_writable(option: str, folder: str) -> None:
    """Refuse a folder that cannot be made or written, before the work rather than after it."""
    parent = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        reason = 'cannot be written' if parent.is_dir() else 'is no folder'
        raise InputError(f'{option} {folder}: {parent} {reason}; name another folder')


def launch(cfg: Config, launcher: str) -> None:
    """Set the launcher; without a GPU, prepare several processes to meet over gloo.

    mmengine's own start-up sets a CUDA device for each process, and SyncBN exists on GPUs only.
    """
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher != 'pytorch':
        raise InputError(f'--launcher {launcher} needs GPUs, and PyTorch sees none; on CPUs use --launcher pytorch')
    torch.distributed.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}
    # In the registry rather than in the config, where a default argument would escape.
    MODELS.register_module('SyncBN', module=nn.BatchNorm2d, force=True)
    if torch.distributed.get_rank() == 0:
        warnings.warn(
            'no GPU: SyncBN is replaced by BN, so that each process normalises with its own images', stacklevel=1
        )


def leave() -> None:
    """End together: gloo's threads abort a process that ends with them, and the launcher would end the others."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def drop_boosters(cfg: Config) -> None:
    """Build for prediction: no auxiliary heads in memory. Checkpoints that have them load all the same."""
    if cfg.model.type == 'mmseg_bisenet.BiSeNetSegmentor':
        cfg.model.auxiliary_head = None


def check_data(cfg: Config, *dataloaders: str) -> None:
    """Refuse data sets without images, or of other classes than the model, before anything is written.

    Raises:
        InputError: it names the folder or the data set, and the options that set it; or a dataloader that the config
            lacks.
    """
    for name in dataloaders:
        if not (cfg.get(name) and cfg[name].get('dataset')):
            raise InputError(f'the config has no {name}.dataset; take one of configs/_base_/datasets among its bases')
    found = [leaf for name in dataloaders for leaf in _datasets(cfg[name].dataset, f'{name}.dataset')]
    _require_folders(found)
    for key, dataset in found:
        built = _build(dataset, cfg)
        classes, wanted = built.metainfo.get('classes'), cfg.model.get('num_classes')
        if classes and wanted and len(classes) != wanted:
            raise InputError(
                f'{key} has {len(classes)} classes, and model.num_classes is {wanted}; set it to {len(classes)}, or '
                f'{key}.metainfo.classes to those of the model'
            )
        if built.ann_file and not Path(built.ann_file).exists() and not built.backend_args:
            raise InputError(
                f'{key}.ann_file: {built.ann_file} does not exist; mend it, or set it to "" to take all images'
            )
        if _is_empty(built):
            listed_in = f'{built.ann_file} lists none' if built.ann_file and Path(built.ann_file).is_file() else ''
            where = listed_in or f'no file in {built.data_prefix.get("img_path")} ends in {built.img_suffix}'
            raise InputError(f'{key} has no image: {where}; mend its img_suffix, data_prefix or ann_file')


def check_files(cfg: Config) -> None:
    """Let stock loaders of the test be ours, which read the same, and name a file that is wrong."""
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    ours = [evaluator for evaluator in evaluators if evaluator.type == METRIC]
    for _, dataset in _datasets(cfg.test_dataloader.dataset, 'test_dataloader.dataset'):
        options = dict(LoadImageFromFile={})
        # Stock metrics leave out ids that are no class; such a label stays right for them.
        if ours and (classes := _build(dataset, cfg).metainfo.get('classes')):
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


def _is_empty(dataset: BaseSegDataset) -> bool:
    try:
        dataset.full_init()
    except ValueError as error:
        if 'at least one array' in str(error):  # mmengine's way to say that it found no image
            return True
        raise
    return not len(dataset)


def _require_folders(datasets: Iterable[tuple[str, ConfigDict]]) -> None:
    """Refuse folders that don't exist or are empty."""
    wrong = []
    for key, dataset in datasets:
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


def _build(dataset: ConfigDict, cfg: Config) -> BaseSegDataset:
    """The data set before it looks for files, and without its pipeline."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        return DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True})


def _datasets(dataset: ConfigDict, key: str) -> Iterator[tuple[str, ConfigDict]]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset, each with its key in the config."""
    if 'dataset' in dataset:
        yield from _datasets(dataset.dataset, f'{key}.dataset')
    for i, inner in enumerate(dataset.get('datasets', ())):
        yield from _datasets(inner, f'{key}.datasets.{i}')
    # Other storage than folders has a backend of its own, and its own errors.
    if 'data_prefix' in dataset and not dataset.get('backend_args'):
        yield key, dataset
