"""``mmseg-bisenet convert-camvid SOURCE DIR``: convert CamVid from the folders of the SegNet tutorial to ours."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='the CamVid folder of the SegNet tutorial, with train, trainannot, val, …')
    parser.add_argument('target', metavar='DIR', help='folder to write')


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.data.camvid import convert_camvid

    convert_camvid(args.source, args.target)
    print(args.target)
    return 0
