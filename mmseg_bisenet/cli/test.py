"""``mmseg-bisenet test CONFIG CHECKPOINT``: MMSegmentation's test script, with the spellings that people know."""

import argparse
import shutil
import sys
from pathlib import Path

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    config.add_launcher(parser)
    parser.add_argument(
        '--aug-test', '--tta', action='store_true', dest='tta', help='multi-scale and flip, as the config says'
    )
    parser.add_argument('--out', metavar='DIR', help='write the predicted labels as PNG files')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of predictions over images')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown images')
    parser.add_argument('--eval', nargs='+', help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from mmengine.dist import is_main_process
    from mmengine.runner import Runner

    from mmseg_bisenet.cli import config

    cfg = config.load(args)
    config.require_checkpoint(args.checkpoint)
    if args.out and Path(args.out).exists():
        raise InputError(f'--out {args.out} exists already; name a new folder, or remove it')
    config.check_data(cfg, 'test_dataloader')
    if args.eval:
        print(
            f'note: --eval {" ".join(args.eval)} is of MMSegmentation 0.x; scores are test_evaluator of the config',
            file=sys.stderr,
        )
    config.launch(cfg, args.launcher)
    config.drop_boosters(cfg)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        cfg.default_hooks.visualization.update(draw=True, show=args.show, wait_time=args.wait_time)
        cfg.visualizer.save_dir = args.show_dir
    if args.tta:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    if args.out:
        # Under another name until it is whole: a run that was cut off must not look like a full one.
        out = Path(args.out)
        partial = out.with_name(f'.{out.name}.partial')
        cfg.test_evaluator.update(output_dir=str(partial), keep_results=True)
    runner = Runner.from_cfg(cfg)
    config.require_fit(runner.model, args.checkpoint)
    if args.out and is_main_process():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    runner.test()
    if args.out and is_main_process():
        partial.rename(out)
    return 0
