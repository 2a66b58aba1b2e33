"""``mmseg-bisenet convert IN OUT``: convert a checkpoint of another codebase, or of this package, to this package."""

import argparse
import sys

from mmseg_bisenet.cli.overwrite import add_overwrite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.checkpoints import SOURCES

    parser.add_argument('checkpoint', metavar='IN', help='.pth, .safetensors or .pdparams file')
    parser.add_argument('target', metavar='OUT', help='file to write, .pth or .safetensors')
    parser.add_argument(
        '--source',
        choices=SOURCES,
        help='codebase of the checkpoint (default: found by its keys); openmmlab includes this package',
    )
    parser.add_argument('--inference', action='store_true', help='leave the auxiliary heads out')
    parser.add_argument('--half', action='store_true', help='store float16, which takes half the space')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet import model_index
    from mmseg_bisenet.checkpoints import convert

    done = convert(args.checkpoint, args.target, args.source, args.inference, args.half, args.overwrite)
    if done.dropped:
        heads = dict.fromkeys(key.partition('.conv')[0] for key in done.dropped)
        print(
            f'note: left out, for training only: {", ".join(heads)} ({len(done.dropped)} tensors)',
            file=sys.stderr,
        )
    if done.num_classes != done.config_num_classes:
        print(
            f'note: the config has {done.config_num_classes} classes; use it with '
            f'--cfg-options model.num_classes={done.num_classes}',
            file=sys.stderr,
        )
    if done.source != 'openmmlab' and done.num_classes != done.config_num_classes:
        data = model_index.find(done.config.stem).data
        print(
            f'note: the config normalises images as {done.source} does for {data}; set '
            'model.data_preprocessor.mean and .std to those of the data that the checkpoint was trained on',
            file=sys.stderr,
        )
    print(f'{args.target}: {done.network} of {done.source}, {done.num_classes} classes')
    print(done.config.stem)
    return 0
