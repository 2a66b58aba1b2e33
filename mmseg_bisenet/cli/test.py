"""``mmseg-bisenet test CONFIG [CHECKPOINT]``: MMSegmentation's test script, which takes the spellings of 0.x too."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmseg_bisenet.cli.preflight import DataSets

# Opens a window as MMEngine's visualizer does. What has no toolkit draws into memory, without a word.
OPENS = """
from matplotlib import pyplot
if not pyplot.figure().canvas.required_interactive_framework:
    backend = pyplot.get_backend()
    sys.exit(f'Matplotlib uses {backend}, which opens none: it needs a display, and a toolkit such as tkinter')
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import options

    options.add_arguments(parser)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file or its URL, or a file that `export` wrote (default: the weights of the model)',
    )
    options.add_launcher(parser)
    parser.add_argument(
        '--aug-test', '--tta', action='store_true', dest='tta', help='test with the scales and flips of the config'
    )
    parser.add_argument('--out', metavar='DIR', help='write the predicted labels as PNG files')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of predictions over images')
    parser.add_argument(
        '--wait-time', type=float, help='seconds between images of --show; 0 waits for a key (default: 2)'
    )
    parser.add_argument('--deploy', action='store_true', help='test the network as it is deployed (switch_to_deploy)')
    parser.add_argument(
        '--keep-going',
        action='store_true',
        help='leave out files that cannot be read, list them, and exit with 1',
    )
    parser.add_argument('--eval', nargs='+', help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from mmengine.dist import is_main_process

    from mmseg_bisenet.checkpoints.fetching import fetch
    from mmseg_bisenet.cli import launch, options, preflight
    from mmseg_bisenet.cli.new_folders import require_new_file, require_new_folders
    from mmseg_bisenet.deploy.metadata import is_exported
    from mmseg_bisenet.display import require_window
    from mmseg_bisenet.files import check_output, require_outside, require_writable
    from mmseg_bisenet.own_results import EVALUATION, require_own

    cfg = options.load(args)
    args.checkpoint = options.find_checkpoint(args)
    preflight.require_checkpoint(args.checkpoint)
    preflight.require_dataset(cfg, 'test_dataloader')
    for key in ('test_cfg', 'test_evaluator'):
        if not cfg.get(key):
            raise InputError(f'the config has no {key}; take one of configs/_base_/datasets among its bases')
    if (keys := require_new_folders(cfg)) and args.show_dir:
        raise InputError(f'--show-dir and {keys[0]} both name a folder for pictures; leave one of them out')
    require_new_file(cfg, 'test_evaluator')
    _apply(cfg, args)
    own = Path(cfg.work_dir, EVALUATION)
    for option, folder in [('--out', args.out), ('--show-dir', args.show_dir)]:
        if folder:
            require_writable(option, folder)
            require_outside(folder, own, f'name another folder with {option}')
    require_writable('--work-dir', cfg.work_dir)
    for folder in (args.show_dir, cfg.work_dir) if args.out else ():
        if folder:
            require_outside(folder, args.out, 'name another folder with --out')
    for option, given in {'--show-dir': args.show_dir, '--show': args.show}.items():
        if given and args.launcher != 'none':
            raise InputError(f'{option} draws the images of one process only; test without --launcher to draw all')
    if args.show_dir:
        check_output(args.show_dir, folder=True, fix='name a new folder with --show-dir')
    require_own(own)
    if args.show:
        require_window(OPENS, 'use --show-dir DIR')
    datasets = preflight.check_data(cfg, 'test_dataloader')
    preflight.check_zero_label(cfg, datasets)
    preflight.use_our_loaders(cfg, datasets)
    preflight.drop_boosters(cfg)
    args.checkpoint = fetch(args.checkpoint)
    if is_exported(args.checkpoint):
        use_exported(cfg, args, datasets)
        model = None  # the Runner builds it
    else:
        model = preflight.load_model(cfg, args.checkpoint, datasets)
        cfg.load_from = args.checkpoint  # the scores name it
    if args.tta:
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    if args.eval:
        print(
            f'note: --eval {" ".join(args.eval)} is of MMSegmentation 0.x; scores are test_evaluator of the config',
            file=sys.stderr,
        )
    launch.launch(cfg, args.launcher)
    runner = launch.build_runner(cfg, datasets, model)
    with launch.full_disk(cfg.work_dir):
        runner.test()
    main = is_main_process()
    launch.leave()
    # Only one of several processes fails: if one does, the launcher ends the others.
    if not (args.keep_going and main):
        return 0
    skipped = runner.test_loop.evaluator.metrics[0].report['skipped']
    for item in skipped:
        print(f'mmseg-bisenet: skipped: {item["reason"]}', file=sys.stderr)
    return 1 if skipped else 0


def _apply(cfg: 'Config', args: argparse.Namespace) -> None:
    """Write the options into the config.

    Raises:
        InputError: an option that this config cannot take.
    """
    from mmseg_bisenet.cli import options
    from mmseg_bisenet.cli.out import apply_out

    options.require_with(args, 'wait_time', 'show')
    if args.wait_time is not None and not 0 <= args.wait_time < math.inf:
        raise InputError(f'--wait-time {args.wait_time:g}: give seconds, 0 or more; 0 waits for a key')
    for key in ('tta_model', 'tta_pipeline') if args.tta else ():
        if not cfg.get(key):
            raise InputError(f'--aug-test: the config has no {key}; test without it, or take one of configs/_base_')
    options.note_unread(args, (*options.OF_TRAINING, 'crop_size'), 'in a test')
    for key in args.cfg_options if args.tta else ():
        if key.startswith(('test_dataloader.dataset.pipeline', 'test_pipeline')):
            raise InputError(
                f'--aug-test reads images by tta_pipeline, and {key} changes nothing; set scale, as in '
                'scale="(1024,512)"'
            )
    apply_out(cfg, args)
    if args.tta:
        if cfg.tta_model.type == 'SegTTAModel' and cfg.model.type == 'mmseg_bisenet.BiSeNetSegmentor':
            cfg.model.test_cfg = dict(cfg.model.get('test_cfg') or {}, keep_logits=True)  # the stock wrapper reads them
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    if args.show or args.show_dir:
        wait_time = 2 if args.wait_time is None else args.wait_time
        cfg.default_hooks.visualization.update(draw=True, interval=1, show=args.show, wait_time=wait_time)
        cfg.visualizer.save_dir = args.show_dir
    if args.deploy:
        cfg.custom_hooks = [*cfg.get('custom_hooks', ()), dict(type='mmseg_bisenet.SwitchToDeployHook')]
    if args.keep_going:
        keep_going(cfg)


def keep_going(cfg: 'Config') -> None:
    """Wrap the test data set, so that another sample replaces each one that cannot be read.

    Raises:
        InputError: a metric would count the replacements.
    """
    from mmseg_bisenet.cli.preflight import KEEP_GOING, METRIC
    from mmseg_bisenet.config.rules import metrics

    for evaluator in metrics(cfg, 'test_evaluator'):
        if evaluator.type != METRIC:
            raise InputError(
                f'--keep-going: {evaluator.type} would count what is skipped; set test_evaluator.type={METRIC}'
            )
    cfg.test_dataloader.dataset = dict(type=KEEP_GOING, dataset=cfg.test_dataloader.dataset)


def use_exported(cfg: 'Config', args: argparse.Namespace, datasets: 'DataSets') -> None:
    """Let an exported file replace the model.

    Raises:
        InputError: the file is damaged, has other classes than the config, or an option needs a checkpoint.
    """
    import mmseg_bisenet.deploy.segmentor  # noqa: F401  it registers ExportedSegmentor
    from mmseg_bisenet.cli import preflight
    from mmseg_bisenet.deploy.backends import FORMATS
    from mmseg_bisenet.deploy.metadata import read_metadata

    options = {'--aug-test': args.tta, '--deploy': args.deploy, f'--launcher {args.launcher}': args.launcher != 'none'}
    for option, wanted in options.items():
        if wanted:
            raise InputError(f'{option} needs a checkpoint, and {args.checkpoint} is exported; test it without')
    for key in args.cfg_options:
        if key == 'test_cfg.fp16' or key.partition('.')[0] in ('model', 'data_preprocessor'):
            raise InputError(
                f'--cfg-options {key}: the network of {args.checkpoint} is exported and cannot change; test the '
                'checkpoint, or export again'
            )
    metadata = read_metadata(args.checkpoint)
    classes, expected = metadata['num_classes'], cfg.model.get('num_classes')
    if classes != expected:
        raise InputError(
            f'exported file {args.checkpoint} has {classes} classes, and the config {expected}; give the config that '
            'it was exported with'
        )
    fix = 'give the config that it was exported with'
    preflight.require_same_classes(f'exported file {args.checkpoint}', metadata.get('classes') or (), datasets, fix)
    device = metadata.get('device', FORMATS[metadata['format']].devices[0])
    cfg.model = dict(type='mmseg_bisenet.ExportedSegmentor', exported=args.checkpoint, device=device)
    cfg.pop('data_preprocessor', None)  # the Runner gives it to any model; the file has its own
    cfg.load_from = None
