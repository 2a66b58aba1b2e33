"""``mmseg-bisenet complexity``: what every model of the index costs, printed or in a CSV and the README's tables."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--write', action='store_true', help='renew the CSV and the tables of the README')
    parser.add_argument('--csv', metavar='FILE', default='results/complexity.csv', help='(%(default)s)')
    parser.add_argument('--readme', metavar='FILE', default='README.md', help='(%(default)s)')


def run(args: argparse.Namespace) -> int:
    import torch

    from benchmarks import complexity
    from mmseg_bisenet.benchmark import tables

    torch.set_num_threads(1)  # the images are too small to share
    if args.write:
        tables.require_markers(args.readme, 'complexity')
    rows = complexity.measure_all()
    text = complexity.tables(rows)
    if args.write:
        tables.write_csv(args.csv, rows)
        tables.replace_between(args.readme, 'complexity', text)
    print(text)
    return 0
