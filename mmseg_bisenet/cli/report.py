"""``mmseg-bisenet report WORK_DIR``: scores, curves, and the best and worst images of a test as one HTML page."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dir', type=Path, help='the --work-dir of a test')
    parser.add_argument('--out', type=Path, metavar='FILE', help='the page (default: WORK_DIR/report.html)')


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.files import write_text
    from mmseg_bisenet.report import page

    out = args.out or args.work_dir / 'report.html'
    write_text(out, page.render(args.work_dir, out.parent))
    print(f'written to {out}')
    return 0
