"""One line about whatever is raised while a part of a config is built or runs; it names the field by its path.

MMEngine's builders raise what the class raises, without the field. The frames of the traceback have the dict that was
built, and the config has its path.
"""

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mmseg_bisenet.errors import InputError, is_out_of_memory, short

LONGEST = 200  # characters of a value or a reason; some quote a whole config


@contextmanager
def explained(what: str, fix: str) -> Iterator[None]:
    """Turn any exception into an InputError of one line: a config is a program, and classes raise anything."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise InputError(f'{what} ({reason(error)}); {fix}') from error


@contextmanager
def building(key: str, cfg: Mapping[str, Any] | None = None) -> Iterator[None]:
    """A context in which what ``key`` of a config describes is built.

    Args:
        key: a path, or several keys with ``or`` between them.
        cfg: the config; with it the error names the innermost dict that was being built.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        path = _path_of_built(error, cfg or {}, key) or key
        with explained(f'{path} cannot be built', f'fix {path} in the config, or with --cfg-options'):
            raise


@contextmanager
def running(key: str, what: object = None, on: object = None) -> Iterator[None]:
    """A context in which what ``key`` of a config describes runs: the object ``what``, on the file ``on``.

    What the system says passes: a missing file, no memory, a package that is not installed.
    """
    try:
        yield
    except (InputError, OSError, MemoryError, ImportError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        name = '' if what is None else f' ({type(what).__name__})'
        where = f' on {on}' if on else ''
        raise InputError(
            f'{key}{name} fails{where} ({reason(error)}); fix {key} in the config, or with --cfg-options'
        ) from error


def reason(error: BaseException) -> str:
    """The class and text of an exception; for one without text, the line of the program that raised it."""
    text = str(error) or next((frame.line or '' for frame in traceback.extract_tb(error.__traceback__)[-1:]), '')
    return short_line(f'{type(error).__name__}: {text}')


def short_line(text: str) -> str:
    return short(re.sub(r'\s+', ' ', text), LONGEST)


def frames(error: BaseException) -> list[FrameType]:
    """Those of the traceback, the innermost first."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]


def nodes(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    """A part of a config and all that is in it, with their paths."""
    yield path, node
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in items:
        yield from nodes(f'{path}.{key}', value)


def dicts(path: str, node: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All dicts in a part of a config, with their paths."""
    return ((where, found) for where, found in nodes(path, node) if isinstance(found, Mapping))


def typed(path: str, node: object) -> Iterator[tuple[str, Any]]:
    """All dicts with a type in a part of a config, with their paths."""
    return ((where, found) for where, found in dicts(path, node) if 'type' in found)


def as_written(cfg: Mapping[str, Any], path: str) -> str:
    """``--aug-test`` moves ``tta_pipeline`` to the test data set, and wraps the model: the path that users write."""
    if 'module' not in (cfg.get('model') or {}):
        return path
    return re.sub(r'^test_dataloader\.[a-z0-9.]*?pipeline', 'tta_pipeline', path)


def path_of_type(cfg: Mapping[str, Any], name: str, *tops: str) -> str:
    """The path of the first dict under some keys whose ``type`` is a class of that name; else the keys."""
    for top in tops:
        for path, node in dicts(top, cfg.get(top)):
            if str(node.get('type')).rpartition('.')[2] == name:
                return path
    return ' or '.join(tops)


def _path_of_built(error: BaseException, cfg: Mapping[str, Any], key: str) -> str | None:
    tops = [one.partition('.')[0] for one in key.split(' or ')]
    for frame in frames(error):
        if frame.f_code.co_name != 'build_from_cfg':
            continue
        built = frame.f_locals['cfg']
        for top in tops:
            if path := next((path for path, node in dicts(top, cfg.get(top)) if _is_of(node, built)), None):
                return as_written(cfg, path)
    return None


def _is_of(node: Mapping[str, Any], built: object) -> bool:
    """Whether ``built`` is a copy of ``node``. Builders add arguments, and we replace some types by classes."""
    if not isinstance(built, Mapping) or not node:
        return False
    if isinstance(built.get('type'), str | None):
        return all(key in built and built[key] == value for key, value in node.items())
    rest = {key: value for key, value in node.items() if key != 'type'}
    return bool(rest) and all(key in built and built[key] == value for key, value in rest.items())
