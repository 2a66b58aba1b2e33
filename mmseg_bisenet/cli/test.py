"""``mmseg-bisenet test CONFIG CHECKPOINT``: MMSegmentation's test script, with the spellings that people know."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file or its URL, or a file that `export` wrote')
    config.add_launcher(parser)
    parser.add_argument(
        '--aug-test', '--tta', action='store_true', dest='tta', help='multi-scale and flip, as the config says'
    )
    parser.add_argument('--out', metavar='DIR', help='write the predicted labels as PNG files')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of predictions over images')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown images')
    parser.add_argument('--deploy', action='store_true', help='test the network as it is deployed (switch_to_deploy)')
    parser.add_argument(
        '--keep-going',
        action='store_true',
        help='leave out what cannot be read, list it, and exit with 1',
    )
    parser.add_argument('--eval', nargs='+', help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from mmengine.dist import is_main_process
    from mmengine.runner import Runner

    from mmseg_bisenet.cli import config
    from mmseg_bisenet.cli.out import apply_out
    from mmseg_bisenet.deploy.metadata import SUFFIXES

    cfg = config.load(args)
    config.require_checkpoint(args.checkpoint)
    for key in ('tta_model', 'tta_pipeline') if args.tta else ():
        if not cfg.get(key):
            raise InputError(f'--aug-test: the config has no {key}; test without it, or take one of configs/_base_')
    for key in args.cfg_options if args.tta else ():
        if key.startswith(('test_dataloader.dataset.pipeline', 'test_pipeline')):
            raise InputError(
                f'--aug-test reads images by tta_pipeline, where {key} changes nothing; set its own key, such as '
                'tta_pipeline.1.transforms.0.0.scale'
            )
    apply_out(cfg, args)
    for option, folder in [('--out', args.out), ('--show-dir', args.show_dir), ('--work-dir', cfg.work_dir)]:
        if folder:
            config.require_writable(option, folder)
    if args.show:
        config.require_display()
    config.check_data(cfg, 'test_dataloader')
    config.drop_boosters(cfg)
    args.checkpoint = config.fetched(args.checkpoint)
    if Path(args.checkpoint).suffix in SUFFIXES.values():
        use_exported(cfg, args)
    else:
        config.require_fit(cfg, args.checkpoint)
        cfg.load_from = args.checkpoint
    if args.eval:
        print(
            f'note: --eval {" ".join(args.eval)} is of MMSegmentation 0.x; scores are test_evaluator of the config',
            file=sys.stderr,
        )
    config.launch(cfg, args.launcher)
    if args.show or args.show_dir:
        cfg.default_hooks.visualization.update(draw=True, show=args.show, wait_time=args.wait_time)
        cfg.visualizer.save_dir = args.show_dir
    if args.tta:
        if cfg.tta_model.type == 'SegTTAModel' and cfg.model.type == 'mmseg_bisenet.BiSeNetSegmentor':
            cfg.model.test_cfg = dict(cfg.model.get('test_cfg') or {}, keep_logits=True)  # stock's reads them
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    if args.deploy:
        cfg.custom_hooks = [*cfg.get('custom_hooks', ()), dict(type='mmseg_bisenet.SwitchToDeployHook')]
    config.check_files(cfg)
    if args.keep_going:
        keep_going(cfg)
    runner = Runner.from_cfg(cfg)
    runner.test()
    main = is_main_process()
    config.leave()
    # Of several processes one fails: a launcher ends the others when it does.
    if not (args.keep_going and main):
        return 0
    skipped = runner.test_loop.evaluator.metrics[0].report['skipped']
    for item in skipped:
        print(f'mmseg-bisenet: skipped: {item["reason"]}', file=sys.stderr)
    return 1 if skipped else 0


def use_exported(cfg: 'Config', args: argparse.Namespace) -> None:
    """Let an exported file stand in for the model.

    Raises:
        InputError: it is damaged, of other classes than the data set, or asked for what it cannot do.
    """
    import mmseg_bisenet.deploy.segmentor  # noqa: F401  it registers the stand-in
    from mmseg_bisenet.deploy.metadata import read_metadata

    options = {'--aug-test': args.tta, '--deploy': args.deploy, f'--launcher {args.launcher}': args.launcher != 'none'}
    for option, wanted in options.items():
        if wanted:
            raise InputError(f'{option} needs a checkpoint, and {args.checkpoint} is exported; test it without')
    metadata = read_metadata(args.checkpoint)
    classes, expected = metadata['num_classes'], cfg.model.get('num_classes')
    if classes != expected:
        raise InputError(
            f'exported file {args.checkpoint} is of {classes} classes, and the config of {expected}; give the config '
            'that it was exported with'
        )
    device = 'cuda' if metadata['format'] == 'tensorrt' else metadata.get('device', 'cpu')
    cfg.model = dict(type='mmseg_bisenet.ExportedSegmentor', exported=args.checkpoint, device=device)
    cfg.load_from = None


def keep_going(cfg: 'Config') -> None:
    """Let the test data set stand in for samples that cannot be read.

    Raises:
        InputError: a metric that would count the stand-ins.
    """
    from mmseg_bisenet.cli.config import METRIC

    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    for evaluator in evaluators:
        if evaluator.type != METRIC:
            raise InputError(
                f'--keep-going: {evaluator.type} would count what is skipped; set test_evaluator.type={METRIC}'
            )
    cfg.test_dataloader.dataset = dict(type='mmseg_bisenet.SkipUnreadableDataset', dataset=cfg.test_dataloader.dataset)
