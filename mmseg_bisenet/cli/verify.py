"""``mmseg-bisenet verify FILE``: replay the check of the export on this machine, without PyTorch."""

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('file', help='a file that `export` wrote')
    parser.add_argument('--device', help='cpu or cuda (default: what the file is for)')
    parser.add_argument('--threads', type=int, metavar='N', help='on a CPU (default: OMP_NUM_THREADS, or one a core)')


def run(args: argparse.Namespace) -> int:
    """Returns 1 if fewer labels are right than the export requires."""
    from mmseg_bisenet.deploy.references import verify

    found = verify(args.file, args.device, args.threads)
    segment = found.segment
    print(f'{args.file}: {segment.runtime} in {segment.precision}, {segment.shape[0]}x{segment.shape[1]}')
    print(f'labels  {found.right:.3%} are those of PyTorch in fp32 ({found.ties:.3%} are ties, which count as right)')
    print(f'time    {found.milliseconds:.2f} ms an image, median')
    if found.right >= found.needed:
        return 0
    print(
        f'mmseg-bisenet: {args.file}: {found.right:.3%} of the labels are right, and {found.needed:.2%} are needed; '
        'update the runtime or its driver, or export the file again',
        file=sys.stderr,
    )
    return 1
