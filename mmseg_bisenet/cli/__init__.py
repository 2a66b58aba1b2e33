"""The command ``mmseg-bisenet``. Each module beside this one is a subcommand: ``add_arguments`` and ``run``."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from mmseg_bisenet import __version__
from mmseg_bisenet.errors import InputError

COMMANDS = {
    'env': 'print versions, and say what is wrong with the installation',
    'train': 'train a segmentor',
    'test': 'evaluate a checkpoint',
    'report': 'show what a test found as one HTML page',
    'benchmark': 'measure frames a second',
    'export': 'write a network as one file for another runtime',
    'check-labels': 'walk through a data set, and say what is wrong with its labels',
    'demo': 'draw, train, test and benchmark, in minutes',
    'miniscapes': 'draw street scenes in the Cityscapes layout',
    'segment': 'show what a network sees in images',
    'convert': 'turn a checkpoint of another codebase into ours',
    'convert-camvid': 'turn the SegNet folders of CamVid into ours',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 on success, 2 with one line on stderr for what the user can mend."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser('mmseg-bisenet', description='BiSeNet V1 and V2 for MMSegmentation 1.x')
    parser.add_argument('--version', action='version', version=__version__)
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for command, summary in COMMANDS.items():
        subparser = subparsers.add_parser(command, help=summary, description=summary)
        # Only the command that runs is imported: `env` has to work where the others cannot.
        if command in argv[:1]:
            module = importlib.import_module(f'mmseg_bisenet.cli.{command.replace("-", "_")}')
            module.add_arguments(subparser)
    args = parser.parse_args(argv)
    try:
        return module.run(args)
    except InputError as error:
        # A data worker's error comes with the worker's traceback in front; its last line is the message.
        line = str(error).strip().splitlines()[-1].removeprefix('mmseg_bisenet.errors.InputError: ')
        print(f'mmseg-bisenet: error: {line}', file=sys.stderr)
        return 2


def script(command: str) -> int:
    """Run ``command`` as a script of its own, the way mim starts ``tools/COMMAND.py``."""
    return main([command, *sys.argv[1:]])
