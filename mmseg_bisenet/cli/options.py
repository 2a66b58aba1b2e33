"""The options that commands on a config share, and the config that they give."""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, DictAction

from mmseg_bisenet import model_index
from mmseg_bisenet.cli import rendezvous
from mmseg_bisenet.config import check as config_check
from mmseg_bisenet.config import rules as config_rules
from mmseg_bisenet.config.errors import typed
from mmseg_bisenet.errors import InputError

# Fields that only a training reads.
OF_TRAINING = ('load_from', 'resume', 'train_', 'val_', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr')


class CfgOptions(DictAction):
    """mmengine's action; a value that it refuses is an error of usage."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list, *others: Any
    ) -> None:
        for option in values:
            key, sign, _ = option.partition('=')
            if not (sign and all(key.split('.'))):
                parser.error(f'--cfg-options {option}: {"a key is empty" if sign else "it has no ="}; write KEY=VALUE')
        try:
            super().__call__(parser, namespace, values, *others)
        except (ValueError, AssertionError) as error:
            parser.error(f'--cfg-options {" ".join(values)}: {error}; write KEY=VALUE')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config, ``--work-dir`` and ``--cfg-options``, spelled as in MMSegmentation's scripts."""
    add_config(parser)
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and scores')


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the config and ``--cfg-options``."""
    parser.add_argument('config', help='path of a config, or the name of a model or config of this package')
    parser.set_defaults(work_dir=None)
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE', help='override the config'
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, with which several processes work together."""
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='what started the processes'
    )
    # torch.distributed.launch passes it to each process; mmengine reads the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def require_with(args: argparse.Namespace, option: str, other: str) -> None:
    """Refuse an option that only another one makes use of. Its default is None.

    Args:
        option, other: as ``args`` names them.

    Raises:
        InputError: ``option`` is given without ``other``.
    """
    if getattr(args, option) is not None and not getattr(args, other):
        first, second = (f'--{name.replace("_", "-")}' for name in (option, other))
        raise InputError(f'{first} changes nothing without {second}; add {second}, or leave {first} out')


def load(args: argparse.Namespace) -> Config:
    """Read the config and apply the options of the command line.

    Raises:
        InputError: there is no such config, it cannot be read, or a field is wrong; or the processes of the launcher
            cannot find each other.
    """
    rendezvous.check(getattr(args, 'launcher', 'none'))
    path = model_index.find_config(args.config)
    cfg = config_check.read(path)
    sizes = {name: tuple(cfg[name]) for name in ('crop_size', 'scale') if isinstance(cfg.get(name), list | tuple)}
    notes = [f'config {path}: {text}' for text in config_check.unread(cfg)]
    notes += [f'--cfg-options {text}' for text in config_check.merge(cfg, args.cfg_options)]
    if 'model' not in cfg:
        raise InputError(f'config {path} has no `model`; give a config of configs/bisenetv1 or configs/bisenetv2')
    config_check.check(cfg)
    if (launcher := cfg.get('launcher') or 'none') not in ('none', getattr(args, 'launcher', launcher)):
        raise InputError(f'launcher={launcher} in the config changes nothing; give --launcher {launcher} instead')
    for text in [*notes, *(f'config {path}: {text}' for text in config_rules.notes(cfg))]:
        print(f'note: {text}', file=sys.stderr)
    for name, before in sizes.items():
        if name in args.cfg_options:
            _set_size(cfg, name, before)
    for step in _steps([cfg[key] for key in cfg if key.endswith(('_pipeline', '_dataloader'))]):
        if step['type'] == 'Resize' and isinstance(step.get('scale'), list):  # 64,32 on the command line is a list
            step['scale'] = tuple(step['scale'])
    if classes := cfg.model.get('num_classes'):
        for key, value in args.cfg_options.items():
            if 'pipeline.' in key and key.endswith('.num_classes') and value != classes:
                raise InputError(
                    f'--cfg-options {key}={value}: labels are checked for the {classes} classes of the model; set '
                    'model.num_classes'
                )
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'tta_pipeline'):
            _set_num_classes(cfg.get(name), classes)
    if args.work_dir and (other := args.cfg_options.get('work_dir', args.work_dir)) != args.work_dir:
        raise InputError(f'--work-dir {args.work_dir} and --cfg-options work_dir={other} differ; leave one of them out')
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or os.path.join('work_dirs', path.stem)
    return cfg


def _set_size(cfg: Config, name: str, before: tuple[int, int]) -> None:
    """Give a new ``crop_size`` or ``scale`` to what had the value of that name, because options are merged too late.

    The views of ``--aug-test`` follow ``scale`` too, each multiplied by its ratio.
    """
    if not isinstance(cfg[name], list | tuple):
        raise InputError(f'--cfg-options {name}={cfg[name]}: give two numbers, as in {name}="{before[0]},{before[1]}"')
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if name == 'crop_size' and preprocessor.get('size') == before:
        preprocessor['size'] = cfg.crop_size
    for step in _steps([cfg[key] for key in cfg if key.endswith(('_pipeline', '_dataloader'))]):
        if step.get(name) == before:
            step[name] = cfg[name]
    for step in _steps(cfg.get('tta_pipeline')) if name == 'scale' else ():
        if step['type'] == 'Resize' and isinstance(ratio := step.pop('scale_factor', None), int | float):
            step['scale'] = tuple(int(side * ratio) for side in cfg.scale)


def _steps(node: object) -> Iterator[dict]:
    """Each dict that has a ``type``, at any depth."""
    return (step for _, step in typed('', node))


def _set_num_classes(node: object, num_classes: int) -> None:
    """Give the model's number of classes to each check of labels, so that users set it in one place."""
    for step in _steps(node):
        if step['type'] == 'LoadAnnotations' and 'num_classes' in step:
            step['num_classes'] = num_classes


def note_unread(args: argparse.Namespace, keys: tuple[str, ...], where: str) -> None:
    """Say which ``--cfg-options`` change nothing.

    Args:
        keys: how fields begin that the command does not read.
        where: such as ``in a test``.
    """
    for key in args.cfg_options:
        if key.startswith(keys):
            print(f'note: --cfg-options {key} changes nothing {where}', file=sys.stderr)


def find_checkpoint(args: argparse.Namespace) -> str:
    """Path or URL of the checkpoint: that of the command line, or the weights of the model that it names.

    Raises:
        InputError: it names neither.
    """
    if args.checkpoint:
        return args.checkpoint
    entry = model_index.entries().get(model_index.renamed(args.config) or args.config)
    if entry is None:
        raise InputError(
            f'{args.config} is no name of the model index, whose weights are known; give a checkpoint after it'
        )
    return str(model_index.weights(entry))
