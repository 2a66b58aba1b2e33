"""``mmseg-bisenet report WORK_DIR``: the scores, curves, best and worst images of a test as one HTML page."""

import argparse
import sys
from pathlib import Path

from mmseg_bisenet.cli.overwrite import add_overwrite
from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dir', type=Path, help='the --work-dir of a training or a test')
    parser.add_argument('--out', type=Path, metavar='FILE', help='file to write (default: WORK_DIR/report.html)')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    from mmseg_bisenet.files import check_output, identities, require_outside, require_writable, write_text
    from mmseg_bisenet.own_results import EVALUATION
    from mmseg_bisenet.report import page

    if args.work_dir.is_file() or (args.work_dir / 'scores.json').is_file():
        raise InputError(
            f'{args.work_dir} is a part of a work dir; give the work dir, which has the folder {EVALUATION}'
        )
    out = args.out or args.work_dir / 'report.html'
    require_outside(out, args.work_dir / EVALUATION)
    check_output(out, args.overwrite, inputs=identities(page.inputs(args.work_dir)))
    if out.suffix.lower() not in ('.html', '.htm'):
        raise InputError(f'--out {out}: the report is an HTML page; give a name that ends in .html')
    require_writable('--out', out.parent)
    text, damaged = page.render(args.work_dir, out.parent)
    write_text(out, text, args.overwrite)
    print(f'wrote {out}')
    if damaged:
        print(f'note: {damaged}', file=sys.stderr)
    return 0
