"""``mmseg-bisenet run SCRIPT [ARGUMENTS]``: a script of MMSegmentation, in a process where this package is imported.

Many of its scripts import ``mmseg`` before they read a config, and upstream's mmseg needs an mmcv with compiled ops
unless :mod:`mmseg_bisenet.compat` is imported first. The script's own arguments are its own, but for ``test.py``, which
takes those of MMSegmentation 0.x too.
"""

import argparse
import runpy
import sys
from pathlib import Path

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.install import is_optional
from mmseg_bisenet.model_index import nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'script', help='path of a script, or the name of one that MMSegmentation installs, such as print_config'
    )
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='arguments of the script')


def run(args: argparse.Namespace) -> int:
    script = find(args.script)
    arguments = today(args.arguments) if script.name == 'test.py' else args.arguments
    before = sys.argv, list(sys.path)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))  # as Python does; some scripts import a file beside them
    try:
        runpy.run_path(str(script), run_name='__main__')
    except ModuleNotFoundError as error:
        if is_optional(error):  # the command line says how to install it
            raise
        raise InputError(f'{script.name} needs {error.name}, which is not installed; install it with pip') from error
    finally:
        sys.argv, sys.path[:] = before
    return 0


def find(name: str) -> Path:
    """The script of that path, or the installed one of that name.

    Args:
        name: a path; or a file name with or without ``.py``, and with its folder if two have it.

    Raises:
        InputError: there is none, or there are several; or it is a pipe, which would be waited for.
    """
    check_input(name)
    if Path(name).is_file():
        if Path(name).suffix != '.py':
            raise InputError(f'script {name} is no Python file; give one that ends in .py')
        return Path(name).resolve()
    import mmseg

    root = Path(mmseg.__file__).parent / '.mim'
    files = [path for folder in ('tools', 'demo') for path in sorted((root / folder).rglob('*.py'))]
    scripts = {path: path.relative_to(root).with_suffix('').parts for path in files}
    wanted = Path(name.removesuffix('.py')).parts
    fitting = [path for path, parts in scripts.items() if parts[-len(wanted) :] == wanted]
    if len(fitting) > 1:
        names = ' or '.join('/'.join(scripts[path][1:]) for path in fitting)
        raise InputError(f'script {name} is the name of {len(fitting)} scripts; write {names}')
    if not fitting:
        raise InputError(
            f'script {name} is neither a file nor a script that MMSegmentation installs; the nearest names are '
            f'{nearest(name, {path.stem for path in scripts})}; give the path of any other, such as a demo of its '
            'repository'
        )
    return fitting[0]


def today(arguments: list[str]) -> list[str]:
    """The arguments of ``test.py`` in MMSegmentation 1.x, from those of 0.x: ``--aug-test``, and ``--eval mIoU``."""
    result, dropping = [], False
    for argument in arguments:
        dropping = argument == '--eval' or (dropping and not argument.startswith('-'))
        if argument.startswith('--eval='):
            continue
        if not dropping:
            result.append('--tta' if argument == '--aug-test' else argument)
    return result
