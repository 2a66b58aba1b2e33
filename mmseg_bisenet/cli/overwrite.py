"""``--overwrite`` of the commands that write single files; :mod:`mmseg_bisenet.files` has the rule."""

import argparse


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist already')
