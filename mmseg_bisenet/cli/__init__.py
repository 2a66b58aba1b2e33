"""The command ``mmseg-bisenet``. Each module in this folder with ``add_arguments`` and ``run`` is a subcommand."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from mmseg_bisenet import __version__, install
from mmseg_bisenet.errors import InputError, line

GROUPS = {
    'train and evaluate': {
        'train': 'train a segmentor',
        'test': 'evaluate a checkpoint',
        'report': 'write the results of a test as one HTML page',
        'run': 'start a script of MMSegmentation',
    },
    'use a network': {
        'predict': 'label images, videos, cameras and streams',
        'segment': 'the earlier name of predict',
        'export': 'write a network as one file for another runtime',
        'verify': 'check an exported file on this machine',
        'benchmark': 'compare the speed of runtimes',
    },
    'prepare checkpoints and data': {
        'convert': 'convert a checkpoint of another codebase',
        'check-labels': 'check the labels of a data set',
        'convert-camvid': 'convert the SegNet folders of CamVid',
        'convert-celebamask': 'draw the label maps of CelebAMask-HQ',
        'miniscapes': 'draw street scenes in the Cityscapes layout',
    },
    'look up': {
        'env': 'print versions, and the problems of the installation',
        'list': 'list the models of the model index',
    },
}
# For `mim run mmseg_bisenet demo`, which tries the whole chain; not a tool for daily work.
UNLISTED = {'demo': 'draw streets, then train, test and benchmark on them, in minutes'}
COMMANDS = {command: summary for group in (*GROUPS.values(), UNLISTED) for command, summary in group.items()}
MODULES = {'list': 'list_models'}  # a module `list` would hide the builtin in this file
EXTRAS = {'verify': 'run', 'miniscapes': 'demo'}  # what brings a missing module; 'openmmlab' for the others


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Returns 0 on success, and 2 after one line on stderr for an error that the user can fix."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        'mmseg-bisenet',
        description='BiSeNet V1 and V2 for MMSegmentation 1.x',
        epilog=_list_commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=__version__)
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True, help=argparse.SUPPRESS)
    try:
        for command, summary in COMMANDS.items():
            subparser = subparsers.add_parser(command, description=summary)
            # Only the command that runs is imported: `env` has to work when the others cannot.
            if command in argv[:1]:
                name = MODULES.get(command, command.replace('-', '_'))
                module = importlib.import_module(f'mmseg_bisenet.cli.{name}')
                module.add_arguments(subparser)
        args = parser.parse_args(argv)
        return module.run(args)
    except InputError as error:
        print(f'mmseg-bisenet: error: {line(error)}', file=sys.stderr)
    except ModuleNotFoundError as error:
        if not install.is_optional(error):
            raise
        command = install.command(EXTRAS.get(argv[0], 'openmmlab'))
        text = f'{error.name} is not installed; run: {command} (mmseg-bisenet env checks the installation)'
        if isinstance(error.__cause__, ModuleNotFoundError):  # of `install.needing`, which knows the extra
            text = str(error)
        print(f'mmseg-bisenet: error: {text}', file=sys.stderr)
    return 2


def script(command: str) -> int:
    """Run ``command`` as a script, as mim starts ``tools/COMMAND.py``."""
    return main([command, *sys.argv[1:]])


def _list_commands() -> str:
    width = max(map(len, COMMANDS))
    lines = []
    for group, commands in GROUPS.items():
        lines += ['', f'{group}:', *(f'  {command:{width}}  {summary}' for command, summary in commands.items())]
    return '\n'.join([*lines[1:], '', 'mmseg-bisenet COMMAND --help lists the options of a command.'])
