"""``mmseg-bisenet export CONFIG [CHECKPOINT]``: one file for another runtime."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmseg_bisenet.cli.overwrite import add_overwrite
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

SPLITS = ('train', 'val', 'test')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.deploy.backends import FORMATS
    from mmseg_bisenet.deploy.precision import NAMES

    parser.add_argument('config', help='name of a model, or path or name of a config')
    parser.add_argument('checkpoint', nargs='?', help='.pth or .safetensors file (default: the weights of the model)')
    parser.add_argument('--format', choices=list(FORMATS), default='onnx', help='default: %(default)s')
    parser.add_argument('--precision', choices=list(NAMES), default='fp32', help='default: %(default)s')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        default=(512, 1024),
        help='height and width of the images (default: 512 1024)',
    )
    parser.add_argument('--dynamic', action='store_true', help='take images of any size, and batches of any number')
    where = parser.add_mutually_exclusive_group()
    where.add_argument('--output', default='.', metavar='DIR', help='folder for the file (default: the current one)')
    where.add_argument('--serve', metavar='DIR', help='write a new folder for a model server, such as Triton')
    add_overwrite(parser)
    parser.add_argument(
        '--output-kind',
        choices=['labels', 'logits'],
        help='logits are at 1/8 of the size (default: labels if the format has them)',
    )
    parser.add_argument(
        '--calibration',
        nargs='+',
        metavar='DIR',
        help='for int8: folders of images, or train, val or test for those of the config (default: train)',
    )
    parser.add_argument(
        '--keep-float',
        nargs='+',
        default=[],
        metavar='MODULE',
        help="for int8: modules that stay float, as decode_head or 'backbone.detail.*'",
    )


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet import model_index
    from mmseg_bisenet.checkpoints.fetching import fetch
    from mmseg_bisenet.cli import options, preflight
    from mmseg_bisenet.deploy import quantize
    from mmseg_bisenet.deploy.backends import FORMATS
    from mmseg_bisenet.deploy.export import checked_target, export
    from mmseg_bisenet.deploy.metadata import is_exported
    from mmseg_bisenet.deploy.serving import export_repository
    from mmseg_bisenet.files import require_writable
    from mmseg_bisenet.zoo import get_model

    quantize.require_int8(args.precision, args.calibration or (), args.keep_float)
    path = model_index.find_config(args.config)
    args.checkpoint = options.find_checkpoint(args)
    preflight.require_checkpoint(args.checkpoint)
    args.checkpoint = fetch(args.checkpoint)
    if args.serve:
        _check_serve(args)
    else:
        require_writable('--output', args.output)
        checked_target(
            args.output,
            path.stem,
            FORMATS[args.format],
            args.precision,
            args.shape,
            args.overwrite,
            inputs=(path, args.checkpoint),
        )
    if is_exported(args.checkpoint):
        raise InputError(f'{args.checkpoint} is an exported file already; give the checkpoint that it was made of')
    images = _calibration(args) if args.precision == 'int8' and min(args.shape) > 0 else ()
    segmentor = get_model(str(path), pretrained=args.checkpoint)
    # Shows the log of the export: a warning, and how many labels are equal.
    handler = logging.StreamHandler(sys.stderr)
    logger = logging.getLogger('mmseg_bisenet.deploy')
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    chosen: dict[str, Any] = dict(dynamic=args.dynamic, calibration=images, keep_float=args.keep_float)
    try:
        if args.serve:
            written = export_repository(segmentor, args.precision, args.shape, args.serve, **chosen)
        else:
            chosen |= dict(output_kind=args.output_kind, overwrite=args.overwrite)
            written = export(segmentor, args.format, args.precision, args.shape, args.output, **chosen)
    finally:
        logger.removeHandler(handler)
    size = sum(part.stat().st_size for part in FORMATS[args.format].parts(written))
    print(f'{written}  {size / 1e6:.1f} MB')
    if args.serve:
        print(f'serve it: {args.serve}/README.md')
        return 0
    command = f'mmseg-bisenet predict IMAGE --model {written}, or '
    runs = args.precision in FORMATS[args.format].precisions  # ONNX Runtime has no fp16 on CPUs
    print(f'run it: {command if runs else ""}as docs/deploy.md shows')
    return 0


def _check_serve(args: argparse.Namespace) -> None:
    """Raises:
    InputError: the folder exists or cannot be written, or an option is not for both servers.
    """
    from mmseg_bisenet.deploy.serving import check_folder
    from mmseg_bisenet.files import require_writable

    if args.format != 'onnx':
        raise InputError(f'--serve writes ONNX, which both servers read; leave --format {args.format} out')
    if args.output_kind == 'logits':
        raise InputError('--serve writes files that give labels; leave --output-kind logits out')
    if args.overwrite:
        raise InputError('--serve replaces no folder; leave --overwrite out')
    check_folder(args.serve)
    require_writable('--serve', args.serve)


def _calibration(args: argparse.Namespace) -> 'Iterator[np.ndarray]':
    """Images of the folders and splits, sampled evenly from all of them. One that is in several counts once."""
    from mmseg_bisenet.deploy import quantize

    paths: list[str | Path] = []
    for name in args.calibration or ['train']:
        paths += _of_split(args, name) if name in SPLITS and not Path(name).is_dir() else quantize.find_images(name)
    return quantize.read_images(list({os.path.realpath(path): path for path in paths}.values()), tuple(args.shape))


def _of_split(args: argparse.Namespace, split: str) -> list[str]:
    from mmengine.registry import DefaultScope

    from mmseg_bisenet.cli import options, preflight
    from mmseg_bisenet.registry import DATASETS

    cfg = options.load(argparse.Namespace(config=args.config, cfg_options={}, work_dir=None))
    try:
        preflight.check_data(cfg, f'{split}_dataloader')
    except InputError as error:
        problem = str(error).partition('; ')[0]
        raise InputError(f'{problem}; for int8 give folders of images instead: --calibration DIR') from None
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    while not hasattr(dataset, 'get_data_info'):
        dataset = dataset.dataset
    return list(dict.fromkeys(dataset.get_data_info(i)['img_path'] for i in range(len(dataset))))
