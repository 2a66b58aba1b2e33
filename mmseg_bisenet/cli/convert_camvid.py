"""``mmseg-bisenet convert-camvid SOURCE DIR``: convert the SegNet folders of CamVid to those of this package."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='folder with train, trainannot, val, valannot, test, testannot')
    parser.add_argument('target', metavar='DIR', help='folder to write')


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.data.camvid import convert_camvid

    convert_camvid(args.source, args.target)
    print(args.target)
    return 0
