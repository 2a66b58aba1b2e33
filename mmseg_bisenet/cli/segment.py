"""``mmseg-bisenet segment``: the earlier name of ``predict``, for one release. It writes to ``segmented``."""

import argparse

from mmseg_bisenet.cli import predict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    predict.add_arguments(parser)
    parser.set_defaults(output='segmented')


def run(args: argparse.Namespace) -> int:
    print('note: segment is now called predict', flush=True)
    return predict.run(args)
