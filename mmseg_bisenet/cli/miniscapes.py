"""``mmseg-bisenet miniscapes DIR``: draw street scenes in the Cityscapes layout."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('root', metavar='DIR', help='folder to write; a folder drawn with the same options is kept')
    parser.add_argument('--train', type=int, default=200, help='scenes for training (default: %(default)s)')
    parser.add_argument('--val', type=int, default=40, help='scenes for evaluation (default: %(default)s)')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 512), metavar=('H', 'W'), help='pixels')
    parser.add_argument('--seed', type=int, default=0)


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.miniscapes import write_miniscapes

    print(write_miniscapes(args.root, args.train, args.val, tuple(args.size), args.seed))
    return 0
