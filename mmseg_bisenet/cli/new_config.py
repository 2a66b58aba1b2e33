"""``mmseg-bisenet new-config DIR --classes NAME…``: write a short config for a folder of images and masks."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from mmseg_bisenet.cli.overwrite import add_overwrite
from mmseg_bisenet.errors import InputError

# Weights to start from: those of the package, and OpenMMLab's.
STARTS = {'v2': 'bisenetv2_camvid', 'v1': 'bisenetv1_r18-d32-in1k-pre_4xb4-160k_cityscapes-1024x1024'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'folder',
        type=Path,
        metavar='DIR',
        help='has images/train, images/val, and masks of the same names in masks/train, masks/val',
    )
    parser.add_argument(
        '--classes', nargs='+', required=True, metavar='NAME', help='in the order of their ids in the masks: 0, 1, …'
    )
    parser.add_argument('--model', choices=list(STARTS), default='v2', help='BiSeNet V1 or V2 (default: %(default)s)')
    parser.add_argument('--output', type=Path, metavar='FILE', help='config to write (default: the name of DIR, .py)')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from mmseg_bisenet.data import own_folder
    from mmseg_bisenet.files import check_output, write_text

    out = args.output or Path(f'{Path(os.path.abspath(args.folder)).name or "own"}.py')
    if out.suffix != '.py':
        raise InputError(f'--output {out} does not end in .py; name a file that does')
    check_output(out, args.overwrite, fix='name another with --output')
    own_folder.check_classes(args.classes)
    if not args.folder.is_dir():
        raise InputError(f'{args.folder} is no folder; {own_folder.LAYOUT} of a folder, and name that')
    suffix = own_folder.find_suffix(args.folder)
    console = Console(stderr=True)
    reports = own_folder.check_masks(
        args.folder,
        suffix,
        args.classes,
        lambda findings, split, total: track(
            findings, split, total=total, console=console, transient=True, disable=not console.is_terminal
        ),
    )
    write_text(out, own_folder.config(args.folder, suffix, args.classes, args.model), args.overwrite)
    for name, occurs in zip(args.classes, reports['train'].occurs, strict=True):
        if not occurs:
            print(f'note: no training mask has class {name}', file=sys.stderr)
    counts = ', '.join(f'{report.images} images in {split}' for split, report in reports.items())
    print(f'{counts}: all masks are correct; wrote {out}\nnow run:')
    print(shlex.join(['mmseg-bisenet', 'train', str(out), '--from', STARTS[args.model]]))
    print(shlex.join(['mmseg-bisenet', 'report', f'work_dirs/{out.stem}']))
    return 0
