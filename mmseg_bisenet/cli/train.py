"""``mmseg-bisenet train CONFIG``: MMSegmentation's training script, also on several processes without GPU."""

import argparse

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    config.add_launcher(parser)
    parser.add_argument('--resume', action='store_true', help='go on from the latest checkpoint in the work dir')
    parser.add_argument('--amp', action='store_true', help='mixed precision, with a dynamic scale of the loss')


def run(args: argparse.Namespace) -> int:
    from mmengine.runner import Runner

    from mmseg_bisenet.cli import config

    cfg = config.load(args)
    config.check_data(cfg, 'train_dataloader', *(['val_dataloader'] if cfg.get('val_cfg') else []))
    config.launch(cfg, args.launcher)
    if args.amp:
        if cfg.optim_wrapper.type not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise InputError(f'--amp replaces optim_wrapper.type OptimWrapper, not {cfg.optim_wrapper.type}')
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    cfg.resume = args.resume
    Runner.from_cfg(cfg).train()
    return 0
