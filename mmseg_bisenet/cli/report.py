"""``mmseg-bisenet report WORK_DIR``: scores, curves, the best and the worst images of a test as one HTML page."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dir', type=Path, help='the work dir of a test, as its --work-dir named it')
    parser.add_argument('--out', type=Path, metavar='FILE', help='the page (default: WORK_DIR/report.html)')


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.benchmark import tables
    from mmseg_bisenet.report import page

    out = args.out or args.work_dir / 'report.html'
    tables.write_text(out, page.render(args.work_dir, out.parent))
    print(f'written to {out}')
    return 0
