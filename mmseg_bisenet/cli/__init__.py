"""The command ``mmseg-bisenet``. Each module in this folder with ``add_arguments`` and ``run`` is a subcommand."""

import argparse
import importlib
import io
import itertools
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec

from mmseg_bisenet import __version__, install
from mmseg_bisenet.cli import ending
from mmseg_bisenet.errors import InputError, is_out_of_memory, line, lost_process

GROUPS = {
    'train and evaluate': {
        'new-config': 'write a config for your own images',
        'train': 'train a segmentor',
        'test': 'evaluate a checkpoint',
        'report': 'write the results of a training and its test as one HTML page',
        'run': 'start a script of MMSegmentation',
    },
    'use a network': {
        'predict': 'label images, videos, cameras and streams',
        'web': 'label photographs, videos and the camera on a page in the browser',
        'export': 'write a network as a file for another runtime',
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
# The first is for `mim run mmseg_bisenet demo`, which tries the whole chain; not a tool for daily work.
UNLISTED = {
    'demo': 'draw streets, then train, test and benchmark on them, in minutes',
    'segment': 'the earlier name of predict',
}
COMMANDS = {command: summary for group in (*GROUPS.values(), UNLISTED) for command, summary in group.items()}
MODULES = {'list': 'list_models'}  # a module `list` would hide the builtin in this file
HINT = '; run with --debug for the traceback'
LONGEST = 500  # characters of an unexpected error; some quote a whole config
EXTRAS = {'verify': 'run', 'miniscapes': 'demo'}  # what brings a missing module; 'openmmlab' for the others


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        0 on success. Otherwise one line on stderr says why: 2 for an error that the user can fix, 130 or 143 for Ctrl-C
        and SIGTERM, 1 for an unexpected error. Some commands return 1 themselves. If whoever reads stdout closes it, as
        ``head`` does, nothing is said, and the status is 141.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')  # as stderr: file names may have any bytes
    logging.raiseExceptions = '--debug' in argv  # a log file on a full disk gives no traceback a line
    # PyTorch's error about a lost worker would also come out of what ends with the error, such as a data loader.
    with ExitStack() as until_the_end, ending.watched() as signal_that_came:
        try:
            try:
                return _run(argv)
            finally:  # after the help too, which ends by SystemExit
                ending.flush()
        except (Exception, KeyboardInterrupt) as error:
            until_the_end.enter_context(ending.workers_ignored())
            ending.remove_partials()  # a test's labels, whose folder has no block that ends
            if '--debug' in argv:
                traceback.print_exc()
            if signum := signal_that_came() or (signal.SIGINT if isinstance(error, KeyboardInterrupt) else 0):
                text, status = ending.line(signum), ending.STATUSES[signum]
            elif fault := ending.fault_of_stdout():
                text, status = fault
            else:
                text, status = _explained(error, argv)
                text = f'mmseg-bisenet: error: {text}'.removesuffix(HINT if '--debug' in argv else '')
            if text:
                print(text, file=sys.stderr)
    return status


def _run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        'mmseg-bisenet',
        usage='%(prog)s [-h] [--version] COMMAND ...',
        description='BiSeNet V1 and V2 for MMSegmentation 1.x',
        epilog=_list_commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=__version__)
    subparsers = parser.add_subparsers(
        dest='command', prog='mmseg-bisenet', metavar='COMMAND', required=True, help=argparse.SUPPRESS
    )
    lists: set[str] = set()  # options with several values
    for command, summary in COMMANDS.items():
        subparser = subparsers.add_parser(command, description=summary)
        # Only the command that runs is imported: `env` has to work when the others cannot.
        if command in argv[:1]:
            name = MODULES.get(command, command.replace('-', '_'))
            module = importlib.import_module(f'mmseg_bisenet.cli.{name}')
            module.add_arguments(subparser)
            subparser.add_argument('--debug', action='store_true', help='print the traceback of an error')
            lists = {name for one in subparser._actions if one.nargs in ('+', '*') for name in one.option_strings}
    if not argv:
        parser.error('give a COMMAND; mmseg-bisenet --help lists them')
    args = parser.parse_args(argv)
    for option in sorted(lists - {'--cfg-options'}):  # which joins its values
        if argv.count(option) > 1:
            raise InputError(f'{option} is given twice, and the first would be dropped; give all values after one')
    for before, word in itertools.pairwise(argv):
        if not word:  # a shell variable that is not set
            raise InputError(f'{before if before.startswith("--") else "an argument"} is empty; give a value')
    for word in argv:
        if '\0' in word:  # only from Python: the system's commands take none
            raise InputError(f'{word!r} contains a NUL byte, as no name of a file may; remove it')
    return module.run(args)


def _explained(error: BaseException, argv: Sequence[str]) -> tuple[str, int]:
    """One line about an error, and the exit status."""
    if isinstance(error, InputError):
        return line(error), 2
    if isinstance(error, ModuleNotFoundError) and install.is_optional(error):
        if isinstance(error.__cause__, ModuleNotFoundError):  # of `install.needing`, which knows the extra
            return str(error), 2
        command = install.command(EXTRAS.get(argv[0], 'openmmlab'))
        if error.name == 'torch' and argv[0] in ('predict', 'web') and find_spec('onnxruntime'):
            # The extra `run`, whose OpenCV may not be beside that of a stack.
            fix = f'give an exported file with --model, or in another environment run: {command}'
            return f'this model needs torch, which is not installed; {fix}', 2
        return f'{error.name} is not installed; run: {command} (mmseg-bisenet env checks the installation)', 2
    if isinstance(error, FileNotFoundError) and _is_lost():
        return 'the current folder was removed; change to another one', 2
    if is_out_of_memory(error):
        return 'out of memory; free some, or take smaller images or a smaller batch', 2
    if isinstance(error, OSError) and isinstance(error.filename, str):  # what the system refuses, as a link to itself
        return f'{error.filename} cannot be read or written ({error.strerror}); repair it, or name another', 2
    # MMEngine reports whatever is raised while it formats a config, a lost worker too, as an error of the config.
    if isinstance(error, SyntaxError) and error.__context__:
        error = error.__context__
    if lost := lost_process(error):
        return lost, 1
    text = str(error)
    before, _, frame = text.rpartition('\n  File ')
    if before:  # of a data worker; its error is what follows the last frame
        after = frame.splitlines()[1:]
        text = ' '.join(itertools.dropwhile(lambda line: line.startswith(' '), after))
    else:
        text = ': '.join(filter(None, (type(error).__name__, text)))
    text = ' '.join(text.split())
    return f'{text[:LONGEST]}{HINT}', 1


def _is_lost() -> bool:
    """Whether the current folder does not exist any more."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def script(*command: str) -> int:
    """Run ``mmseg-bisenet`` as a process: with ``command`` if given, as mim starts ``tools/COMMAND.py``."""
    ending.Stdout.install()
    # mmcv-lite warns of an operator that BiSeNet does not use.
    warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``', UserWarning)
    status = main([*command, *sys.argv[1:]])
    if status in ending.STATUSES.values():
        ending.leave(status)
    ending.ignore_workers()
    return status


def _list_commands() -> str:
    width = max(map(len, COMMANDS))
    lines = []
    for group, commands in GROUPS.items():
        lines += ['', f'{group}:', *(f'  {command:{width}}  {summary}' for command, summary in commands.items())]
    return '\n'.join([*lines[1:], '', 'mmseg-bisenet COMMAND --help lists the options of a command.'])
