"""Global state of the process: restored after every test, so that no test depends on which tests ran before it.

A state is of one of two kinds.

- Changed in normal use: a runner seeds, sets the default scope and registers its logger; ``load`` sets the number of
  threads. These states are restored silently.
- Not to be left changed: everything else. It is restored too, and the test that left it fails with a line that names
  it. Use monkeypatch; for PyTorch's config modules, which monkeypatch cannot restore, their own ``patch``.
"""

import logging
import multiprocessing
import os
import random
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import cv2
import mmengine.hub
import mmengine.runner  # noqa: F401
import numpy as np
import pytest
import torch
import torch._dynamo  # the first test that compiles would leave its settings
from mmengine.registry import init_default_scope
from mmengine.utils import ManagerMixin

ABSENT = object()
# Compiling to a package leaves these settings of PyTorch's changed by itself.
WRITTEN_BY_PYTORCH = {'aot_inductor.metadata'}


class State(NamedTuple):
    """One state, how to read and how to write it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def attribute(owner: Any, name: str) -> State:
    return State(f'{owner.__name__}.{name}', lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def begin() -> None:
    """Random numbers and the default scope are the same in every run and every order of the tests."""
    init_default_scope('mmseg')
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


# -- of MMEngine -------------------------------------------------------------------------------------------------------


def _kinds(kind: type = ManagerMixin) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from _kinds(child)


def read_instances() -> dict[type, OrderedDict]:
    """Default scopes, loggers, message hubs and visualizers, by class and name."""
    return {kind: OrderedDict(kind._instance_dict) for kind in _kinds()}


def write_instances(value: dict[type, OrderedDict]) -> None:
    for kind in _kinds():
        kind._instance_dict = OrderedDict(value.get(kind, {}))


# -- of PyTorch --------------------------------------------------------------------------------------------------------


def config_module(name: str) -> State:
    """``torch._inductor.config`` and the like, once something has imported them."""

    def read() -> dict[str, Any]:
        module = sys.modules.get(name)
        values = _copied(module)
        for key in WRITTEN_BY_PYTORCH & values.keys():
            del values[key]
        # `hasattr` would say what is hidden in five times the time.
        return values | dict.fromkeys((key for key in values if module._config[key].hide), ABSENT)

    def write(value: dict[str, Any]) -> None:
        now = read()
        for key in value:
            if now[key] != value[key]:
                setattr(sys.modules[name], key, value[key])

    return State(name, read, write)


def _copied(module: Any) -> dict[str, Any]:
    return module.get_config_copy() if module else {}


def read_deterministic() -> tuple[int, bool]:
    return torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory


def write_deterministic(value: tuple[int, bool]) -> None:
    torch.set_deterministic_debug_mode(value[0])
    torch.utils.deterministic.fill_uninitialized_memory = value[1]


# -- of Python ---------------------------------------------------------------------------------------------------------


def read_environment() -> dict[str, str]:
    others = ('PYTEST_', '_TORCHINDUCTOR_', 'TRITON_')  # the last two are Inductor's, on a GPU
    return {key: value for key, value in os.environ.items() if not key.startswith(others)}


def write_environment(value: dict[str, str]) -> None:
    for key in read_environment().keys() - value.keys():
        del os.environ[key]
    os.environ.update(value)


def read_path() -> list[str]:
    """Without what packages add when they are imported, as setuptools does."""
    return [folder for folder in sys.path if 'site-packages' not in folder]


def write_path(value: list[str]) -> None:
    sys.path[:] = value + [folder for folder in sys.path if 'site-packages' in folder]


def read_working_directory() -> str | None:
    with suppress(FileNotFoundError):  # a test has removed it
        return os.getcwd()


def read_root_logger() -> tuple:
    handlers = [handler for handler in logging.root.handlers if not type(handler).__module__.startswith('_pytest')]
    return logging.root.level, logging.root.manager.disable, handlers


def write_root_logger(value: tuple) -> None:
    logging.root.setLevel(value[0])
    logging.disable(value[1])
    for handler in read_root_logger()[2]:
        if handler not in value[2]:
            logging.root.removeHandler(handler)


def _loggers() -> dict[str, logging.Logger]:
    known = list(logging.root.manager.loggerDict.items())
    return {name: logger for name, logger in known if name.startswith('mmseg_bisenet') and hasattr(logger, 'handlers')}


def read_handlers() -> dict[str, list[logging.Handler]]:
    return {name: list(logger.handlers) for name, logger in _loggers().items() if logger.handlers}


def write_handlers(value: dict[str, list[logging.Handler]]) -> None:
    for name, logger in _loggers().items():
        logger.handlers[:] = value.get(name, [])


def write_levels(value: dict[str, int]) -> None:
    for name, logger in _loggers().items():
        logger.setLevel(value.get(name, logging.NOTSET))


class Modules(dict):
    """Imported modules by name; what is imported later makes no difference."""

    def __ne__(self, later: 'Modules') -> bool:
        return not self.items() <= later.items()


def read_modules() -> Modules:
    """Without ``backports``, which setuptools replaces by its own copy when it looks up a distribution."""
    modules = Modules(sys.modules)
    modules.pop('backports', None)
    return modules


def write_process_group(value: bool) -> None:
    if torch.distributed.is_initialized() and not value:
        torch.distributed.destroy_process_group()


# -- all of them -------------------------------------------------------------------------------------------------------

CHANGED_IN_NORMAL_USE = [
    State('random state of Python', random.getstate, random.setstate),
    State('random state of NumPy', np.random.get_state, np.random.set_state),
    State('random state of PyTorch', torch.get_rng_state, torch.set_rng_state),
    State('instances of MMEngine', read_instances, write_instances),
    State('levels of our loggers', lambda: {name: logger.level for name, logger in _loggers().items()}, write_levels),
    State('threads of PyTorch', torch.get_num_threads, torch.set_num_threads),
    State('threads of OpenCV', cv2.getNumThreads, cv2.setNumThreads),
    State(
        'start method of processes',
        lambda: multiprocessing.get_start_method(allow_none=True),
        lambda value: multiprocessing.set_start_method(value, force=True),
    ),
    attribute(torch.backends.cudnn, 'benchmark'),
]

NOT_TO_BE_LEFT = [
    State('environment variables', read_environment, write_environment),
    State('working directory', read_working_directory, os.chdir),
    State('sys.path', read_path, write_path),
    State('sys.modules', read_modules, sys.modules.update),
    State('handler of SIGINT', lambda: signal.getsignal(signal.SIGINT), partial(signal.signal, signal.SIGINT)),
    State('root logger', read_root_logger, write_root_logger),
    State('handlers of our loggers', read_handlers, write_handlers),
    State('floating-point errors of NumPy', np.geterr, lambda value: np.seterr(**value)),
    State('default type of PyTorch', torch.get_default_dtype, torch.set_default_dtype),
    State('default device of PyTorch', torch.get_default_device, torch.set_default_device),
    State('gradients', torch.is_grad_enabled, torch.set_grad_enabled),
    State('deterministic algorithms', read_deterministic, write_deterministic),
    State('precision of products', torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    attribute(torch.backends.cudnn, 'enabled'),
    attribute(torch.backends.cudnn, 'deterministic'),
    attribute(torch.backends.cudnn, 'allow_tf32'),
    attribute(torch.backends.mkldnn, 'enabled'),
    attribute(torch.backends.quantized, 'engine'),
    config_module('torch._dynamo.config'),
    config_module('torch._inductor.config'),
    State('process group', torch.distributed.is_initialized, write_process_group),
]


@contextmanager
def kept() -> Iterator[None]:
    """Restore all states at the end, and fail if one was left changed that is not to be left."""
    quiet = [(state, state.read()) for state in CHANGED_IN_NORMAL_USE]
    checked = [(state, state.read()) for state in NOT_TO_BE_LEFT]
    left = []
    try:
        yield
    finally:  # a fixture that several files share may fail, or skip its tests
        for state, before in quiet:
            state.write(before)
        for state, before in checked:
            now = state.read()
            if before != now:
                state.write(before)
                left.append(f'{state.name}: {_difference(before, now)}')
    if left:
        pytest.fail('left changed: ' + '; '.join(left), pytrace=False)


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = before.keys() if isinstance(before, Modules) else before.keys() | now.keys()
        changed = sorted(key for key in keys if before.get(key, ABSENT) != now.get(key, ABSENT))
        return ', '.join(changed)
    return f'{before} became {now}'
