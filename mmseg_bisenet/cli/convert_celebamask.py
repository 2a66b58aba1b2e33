"""``mmseg-bisenet convert-celebamask SOURCE DIR``: draw the label maps of CelebAMask-HQ from its part masks."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='the folder CelebAMask-HQ, with CelebA-HQ-img and CelebAMask-HQ-mask-anno')
    parser.add_argument('target', metavar='DIR', help='folder to write')


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.data.celebamask import convert_celebamask

    convert_celebamask(args.source, args.target)
    print(args.target)
    return 0
