"""``mmseg-bisenet train CONFIG``: MMSegmentation's training script, with the options that recipes often use."""

import argparse
import glob
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config

OF_A_RUN = ('last_checkpoint', 'iter_*.pth', 'epoch_*.pth', 'best_*.pth', 'curves.png')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import options

    options.add_arguments(parser)
    options.add_launcher(parser)
    parser.add_argument('--resume', action='store_true', help='continue from the latest checkpoint in the work dir')
    parser.add_argument(
        '--from',
        dest='start',
        metavar='WEIGHTS',
        help='start from a model of the index, or from a checkpoint file or URL; it may have other classes',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--amp-dtype',
        choices=['float16', 'bfloat16'],
        help='type for --amp; float16, the default, scales the loss dynamically and needs a GPU',
    )
    parser.add_argument('--channels-last', action='store_true', help='store the channels of a pixel side by side')
    parser.add_argument(
        '--compile', action='store_true', help='compile the backbone (torch.compile); the first iteration takes minutes'
    )
    parser.add_argument(
        '--accumulate', type=int, default=1, metavar='N', help='update the weights after every N batches'
    )
    parser.add_argument('--ema', action='store_true', help='evaluate and save a moving average of the weights')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the number of images per step'
    )


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.cli import launch, options, preflight, start_from
    from mmseg_bisenet.cli.new_folders import require_new_file, require_new_folders
    from mmseg_bisenet.engine.checkpoint_hook import require_utf8
    from mmseg_bisenet.engine.optim import rules_without_effect
    from mmseg_bisenet.files import require_writable

    if args.start and args.resume:
        raise InputError('--from starts a training, and --resume continues one; give one of them')
    cfg = options.load(args)
    if cfg.get('resume') and not args.resume:
        raise InputError('resume=True in the config changes nothing; give --resume instead')
    if args.start or args.resume:
        if args.start and args.cfg_options.get('load_from'):
            raise InputError('--from and --cfg-options load_from both say where to start; leave one of them out')
        if args.start and cfg.get('load_from'):
            print(f'note: --from replaces load_from={cfg.load_from} of the config', file=sys.stderr)
        cfg.load_from = args.start  # MMEngine would resume from it, not from the work dir
    require_writable('--work-dir', cfg.work_dir)
    require_utf8('--work-dir', cfg.work_dir)
    require_new_folders(cfg)
    if not args.resume:
        require_no_run(cfg)
        require_new_file(cfg, 'val_evaluator')
    for key in ('train_cfg', 'optim_wrapper'):
        if not cfg.get(key):
            raise InputError(f'the config has no {key}; take one of configs/_base_/schedules among its bases')
    apply_options(cfg, args)
    datasets = preflight.check_data(cfg, 'train_dataloader', *(['val_dataloader'] if cfg.get('val_cfg') else []))
    start = None if args.resume else start_from.read_load_from(cfg, '--from' if args.start else 'load_from')
    launch.launch(cfg, args.launcher)
    cfg.resume = args.resume
    runner = launch.build_runner(cfg, datasets, start=start)
    if keys := rules_without_effect(cfg.optim_wrapper.get('paramwise_cfg') or {}, runner.model):
        where = 'optim_wrapper.paramwise_cfg.custom_keys'
        runner.logger.warning(f'{where}: no parameter has {" or ".join(keys)} in its name; fix the key, or remove it')
    with launch.full_disk(cfg.work_dir):
        runner.train()
    launch.note_nothing_left(runner)
    launch.leave()
    return 0


def require_no_run(cfg: 'Config') -> None:
    """Refuse a work dir with a training in it: another one would replace some of its checkpoints and leave others.

    Raises:
        InputError: it names a file of that training.
    """
    folder = Path(cfg.work_dir)
    folders, names = [folder], [*OF_A_RUN]
    for hook in (*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())):
        if hook and 'Checkpoint' in str(hook.get('type', 'CheckpointHook')) and hook.get('out_dir'):
            folders.append(Path(hook.out_dir, folder.name))  # where MMEngine puts the checkpoints of this work dir
        if hook and hook.get('filename_tmpl'):
            names.append(glob.escape(hook.filename_tmpl).replace('{}', '*'))
    for path in (path for folder in folders for name in names for path in sorted(folder.glob(name))):
        raise InputError(
            f'{path} is of an earlier training, which would be overwritten; continue it with --resume, or name another '
            '--work-dir'
        )


def apply_options(cfg: 'Config', args: argparse.Namespace) -> None:
    """Write the options into the config. docs/train.md names the keys of each.

    Raises:
        InputError: this config or this machine cannot take an option.
    """
    import torch

    from mmseg_bisenet.cli import options
    from mmseg_bisenet.config.rules import averages

    options.require_with(args, 'amp_dtype', 'amp')
    for option, key, wanted in (
        ('--channels-last', 'model.channels_last', args.channels_last),
        ('--accumulate', 'optim_wrapper.accumulative_counts', args.accumulate if args.accumulate > 1 else None),
        ('--auto-scale-lr', 'auto_scale_lr.enable', args.auto_scale_lr),
    ):
        given = args.cfg_options.get(key, wanted)
        if wanted and given != wanted:
            raise InputError(f'{option} and --cfg-options {key}={given} contradict each other; leave one of them out')
    if args.amp:
        kinds = ('OptimWrapper', 'AmpOptimWrapper', 'mmseg_bisenet.BFloat16OptimWrapper')
        if cfg.optim_wrapper.type not in kinds:
            raise InputError(f'--amp replaces optim_wrapper.type OptimWrapper, not {cfg.optim_wrapper.type}')
        if dtype := cfg.optim_wrapper.get('dtype'):
            raise InputError(
                f'--amp: optim_wrapper.dtype of the config is {dtype}, and --amp-dtype sets the type; leave one of '
                'them out'
            )
        cfg.optim_wrapper.pop('loss_scale', None)
        if args.amp_dtype == 'bfloat16':
            cfg.optim_wrapper.type = kinds[2]
        elif torch.cuda.is_available():
            cfg.optim_wrapper.update(type=kinds[1], loss_scale='dynamic')
        else:
            raise InputError('--amp in float16 needs a GPU, and PyTorch sees none; add --amp-dtype bfloat16')
    if args.channels_last:
        if cfg.model.type != 'mmseg_bisenet.BiSeNetSegmentor':
            raise InputError(f'--channels-last is an option of mmseg_bisenet.BiSeNetSegmentor, not of {cfg.model.type}')
        cfg.model.channels_last = True
    if args.accumulate < 1:
        raise InputError(f'--accumulate {args.accumulate}: give 1 or more')
    if args.accumulate > 1:
        cfg.optim_wrapper.accumulative_counts = args.accumulate
    hooks = []
    if args.compile:
        hooks.append(dict(type='mmseg_bisenet.CompileHook'))
    if args.ema:
        if found := averages(cfg):
            raise InputError(f'--ema: {found[0]} of the config averages the weights already; leave one of them out')
        # It averages the iterations so far at first. A fixed momentum would keep the random start for long.
        hooks.append(dict(type='EMAHook', ema_type='MomentumAnnealingEMA'))
    if hooks:
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), *hooks]
    if args.auto_scale_lr:
        if not cfg.get('auto_scale_lr'):
            raise InputError('--auto-scale-lr: the config has no auto_scale_lr; add dict(base_batch_size=16)')
        cfg.auto_scale_lr.enable = True
        # MMEngine counts the images of one batch, and a step can have several.
        cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)
