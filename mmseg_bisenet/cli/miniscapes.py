"""``mmseg-bisenet miniscapes DIR``: draw synthetic street scenes in the Cityscapes layout."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('root', metavar='DIR', help='folder to write; scenes that are there already are kept')
    parser.add_argument('--train', type=int, default=200, help='number of scenes for training (default: %(default)s)')
    parser.add_argument('--val', type=int, default=40, help='number of scenes for evaluation (default: %(default)s)')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(256, 512),
        metavar=('H', 'W'),
        help='size of a scene in pixels (default: 256 512)',
    )
    parser.add_argument('--seed', type=int, default=0, help='random seed, from 0 (default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.miniscapes import write_miniscapes
    from mmseg_bisenet.sizes import check_pixels

    check_pixels('--size', args.size[1], args.size[0])
    print(write_miniscapes(args.root, args.train, args.val, tuple(args.size), args.seed))
    return 0
