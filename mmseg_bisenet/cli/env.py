"""``mmseg-bisenet env``: print versions, and the problems of the installation.

Everything heavy is imported inside a function and a ``try``, because this command has to work when imports fail.
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import re
import sys
import traceback
import warnings

from mmseg_bisenet import __version__, compat
from mmseg_bisenet.install import command, is_editable

# The distributions of each stack by the module that they contain. All distributions of a module share a folder.
STACKS: dict[str, dict[str, tuple[str, ...]]] = {
    'openmmlab': {
        'mmengine': ('mmengine', 'mmengine-lite'),
        'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full'),
        'mmseg': ('mmsegmentation',),
        'mim': ('openmim',),
    },
    'onedl': {
        'mmengine': ('onedl-mmengine',),
        'mmcv': ('onedl-mmcv',),
        'mmseg': ('onedl-mmsegmentation',),
        'mim': ('onedl-mim',),
    },
}
TITLES = {'openmmlab': 'upstream OpenMMLab', 'onedl': 'OneDL'}
OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')
OTHERS = ('torch', 'numpy', 'setuptools', 'openxlab', 'ftfy', 'regex')
# Distributions that are not named like their module.
RENAMED = {'cv2': 'opencv-python', 'yaml': 'pyyaml', 'PIL': 'pillow'}
# In the order in which they import one another: the first failure explains the later ones.
MODULES = ('torch', 'cv2', 'mmengine', 'mmcv', 'mmseg', 'mmseg.models')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> int:
    """Print versions, and for each problem one line with the command that fixes it. Returns 1 if there is a problem."""
    installed, failures = find_installed(), try_imports()
    for name, value in _describe(installed):
        print(f'{name:<16}{value}')
    problems = diagnose(installed, failures, is_editable())
    print(f'\n{len(problems)} problem(s):' if problems else '\nno problem found')
    for problem in problems:
        print(f'- {problem}')
    return 1 if problems else 0


# -- versions ----------------------------------------------------------------------------------------------------------


def find_installed() -> dict[str, str]:
    """Versions of the installed distributions among those that matter here."""
    names = [name for modules in STACKS.values() for names in modules.values() for name in names]
    installed = {}
    for name in (*names, *OPENCV, *runtimes(), *OTHERS):
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return installed


def runtimes() -> tuple[str, ...]:
    """Distributions of the runtimes that run exported files without PyTorch; none if NumPy cannot be imported."""
    try:
        from mmseg_bisenet.deploy.backends import FORMATS
    except ImportError:
        return ()
    return tuple(backend.packages[0] for backend in FORMATS.values() if not backend.needs_torch)


def try_imports() -> dict[str, str]:
    """The last line of the exception of each module that cannot be imported."""
    failures = {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for module in MODULES:
            try:
                importlib.import_module(module)
            except Exception as error:
                failures[module] = ''.join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return failures


def _describe(installed: dict[str, str]) -> list[tuple[str, str]]:
    def found(names: tuple[str, ...]) -> str:
        return ', '.join(f'{name} {installed[name]}' for name in names if name in installed) or 'not installed'

    def module(name: str) -> str:
        return found(tuple(dist for modules in STACKS.values() for dist in modules[name]))

    threads, cuda = _torch_facts()
    mmcv = module('mmcv')
    if mmcv != 'not installed':
        mmcv += ', without compiled ops' if compat.mmcv_lacks_ops() else ', with compiled ops'
    stacks = [TITLES[stack] for stack, dists in _by_stack(installed).items() if dists]
    parts = [f'{part}: {"active" if active else "not active"}' for part, active in compat.apply().items()]
    return [
        ('mmseg_bisenet', __version__ + (' (editable)' if is_editable() else '')),
        ('Python', f'{platform.python_version()} ({sys.executable})'),
        ('platform', platform.platform()),
        ('CPU', f'{os.cpu_count()} cores, {threads} torch threads'),
        ('torch', installed.get('torch', 'not installed')),
        ('CUDA', cuda),
        ('numpy', installed.get('numpy', 'not installed')),
        ('opencv', found(OPENCV)),
        ('runtimes', found(runtimes())),
        ('mmengine', module('mmengine')),
        ('mmcv', mmcv),
        ('mmsegmentation', module('mmseg')),
        ('mim', module('mim')),
        ('stack', f'mixed: {" and ".join(stacks)}' if len(stacks) > 1 else ''.join(stacks) or 'none'),
        *zip(('compat', ''), parts, strict=True),
    ]


def _torch_facts() -> tuple[str, str]:
    try:
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return str(torch.get_num_threads()), f'{torch.version.cuda}, {", ".join(gpus)}' if gpus else 'no GPU'
    except Exception:
        return 'unknown', 'unknown'


# -- problems ----------------------------------------------------------------------------------------------------------


def diagnose(installed: dict[str, str], failures: dict[str, str], editable: bool = False) -> list[str]:
    """One line for each problem, with the command that fixes it.

    Args:
        installed: version by distribution, as `find_installed` gives it.
        failures: last line of the exception by module, as `try_imports` gives it.
        editable: whether this package is installed in editable mode.
    """
    if _only_runs_files(installed):
        failures = {module: error for module, error in failures.items() if module == 'cv2'}
    problems = _wrong_stack(installed, failures) or _wrong_versions(installed)
    problems += _wrong_companions(installed)
    problems += _wrong_imports(installed, failures, explained=bool(problems))
    if editable and _by_stack(installed)['openmmlab']:
        problems.append(
            'mmseg_bisenet is installed in editable mode, and openmim finds neither its configs nor its tools then. '
            'In the checkout: pip uninstall -y mmseg_bisenet && pip install .'
        )
    return problems


def _only_runs_files(installed: dict[str, str]) -> bool:
    """Whether this is an environment of the extra ``run``."""
    dists = [name for names in _by_stack(installed).values() for name in names]
    return 'torch' not in installed and not dists and any(name in installed for name in runtimes())


def _by_stack(installed: dict[str, str]) -> dict[str, list[str]]:
    return {
        stack: [name for names in modules.values() for name in names if name in installed]
        for stack, modules in STACKS.items()
    }


def _wrong_stack(installed: dict[str, str], failures: dict[str, str]) -> list[str]:
    """Both stacks, none, or an incomplete one. One without its mim is complete: nothing imports it."""
    stacks = _by_stack(installed)
    everything = [name for names in stacks.values() for name in names]
    if all(stacks.values()):
        # All must be uninstalled: removing one stack's distribution deletes files that the other's share with it.
        keep = max(stacks, key=lambda stack: len(stacks[stack]))
        return [
            f'both stacks are installed, and they share folders ({", ".join(everything)}). '
            f'To keep {TITLES[keep]}: pip uninstall -y {" ".join(everything)} && {command(keep)}'
        ]
    if not everything:
        # A stack may also run from a checkout on PYTHONPATH.
        nothing = (
            f'no MMSegmentation is installed: {command("openmmlab")} for the {TITLES["openmmlab"]} stack, or '
            f'{command("onedl")} for the {TITLES["onedl"]} stack; to run exported files only, {command("run")}'
        )
        return [nothing] if 'mmseg' in failures else []

    stack = next(stack for stack, names in stacks.items() if names)
    missing = [
        names[0]
        for module, names in STACKS[stack].items()
        if module in failures and not any(name in installed for name in names)
    ]
    if not missing:
        return []
    return [f'half of the {TITLES[stack]} stack is missing ({", ".join(missing)}): {command(stack)}']


def _wrong_versions(installed: dict[str, str]) -> list[str]:
    """Versions within the upstream stack that refuse each other. The OneDL stack states its requirements itself."""
    if 'mmsegmentation' not in installed:
        return []
    names = [name for name in STACKS['openmmlab']['mmcv'] if name in installed]
    fix = f'pip uninstall -y {" ".join(names)} && {command("openmmlab")}'
    if len(names) > 1:
        return [f'{" and ".join(names)} are both installed, and they share a folder: {fix}']
    return [
        f'mmsegmentation {installed["mmsegmentation"]} refuses {name} {installed[name]}: it wants 2.0 to 2.1. {fix}'
        for name in names
        if not (2, 0) <= _release(installed[name]) < (2, 2)
    ]


def _wrong_companions(installed: dict[str, str]) -> list[str]:
    """Packages that the stacks need without declaring it, and packages that break them."""
    problems = []
    stacks = _by_stack(installed)
    setuptools = installed.get('setuptools')
    if stacks['openmmlab'] and (setuptools is None or _release(setuptools) >= (82,)):
        problems.append(
            f'openmim and mmengine import pkg_resources, which setuptools {setuptools or "(not installed)"} does not '
            'contain: pip install "setuptools>=77.0.3,<82"'
        )
    if _release(installed.get('openxlab', '0')) >= (0, 1):
        problems.append(
            f'openxlab {installed["openxlab"]} pins setuptools 60 and old versions of other packages: '
            'pip install "openxlab==0.0.11" "setuptools>=77.0.3,<82"'
        )
    undeclared = [name for name in ('ftfy', 'regex') if name not in installed]
    if undeclared and any(stacks.values()):
        problems.append(f'mmseg imports {" and ".join(undeclared)}: pip install {" ".join(undeclared)}')
    opencv = [name for name in OPENCV if name in installed]
    if len(opencv) > 1:
        problems.append(
            f'{" and ".join(opencv)} are both installed, and they share a folder: '
            f'pip uninstall -y {" ".join(opencv)} && pip install {opencv[0]}'
        )
    torch, numpy = installed.get('torch'), installed.get('numpy')
    if torch and numpy and _release(torch) < (2, 3) and _release(numpy) >= (2,):
        problems.append(f'torch {torch} was built for NumPy 1 and numpy is {numpy}: pip install "torch>=2.3"')
    return problems


def _wrong_imports(installed: dict[str, str], failures: dict[str, str], explained: bool) -> list[str]:
    """The first failed import, unless an earlier problem explains it; a missing system library always."""
    if not failures:
        return []
    module, error = next(iter(failures.items()))
    problem = f'import {module} fails with "{error}"'
    if 'libGL' in error or 'libgthread' in error:
        names = ' '.join(name for name in OPENCV if name in installed) or 'opencv-python'
        return [f'{problem}: pip uninstall -y {names} && pip install opencv-python-headless']
    if explained:
        return []
    if '_ext' in error and 'mmcv' in installed:
        # mmcv was compiled for another version of torch. BiSeNet needs none of its ops.
        return [f'{problem}: pip uninstall -y mmcv && {command("openmmlab")}']
    absent = re.match(r"ModuleNotFoundError: No module named '(\w+)'$", error)
    if absent:
        return [f'{problem}: pip install {RENAMED.get(absent[1], absent[1])}']
    name = _distribution(module, installed)
    return [f'{problem}: pip install --force-reinstall --no-deps {name}=={installed[name]}' if name else problem]


def _distribution(module: str, installed: dict[str, str]) -> str | None:
    package = module.partition('.')[0]
    dists = [name for modules in STACKS.values() for name in modules.get(package, ())]
    names = dists or (OPENCV if package == 'cv2' else (package,))
    return next((name for name in names if name in installed), None)


def _release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` -> ``(2, 13)``. Parsed by hand, because ``packaging`` may be missing."""
    return tuple(int(number) for number in re.findall(r'\d+', version)[:2])
