"""How this package was installed, and the command that installs its extras from the same source.

Only the standard library is imported: ``mmseg-bisenet env`` needs this when everything else is broken.
"""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

NAME = 'mmseg_bisenet'
ROOT = Path(__file__).resolve().parents[1]  # the checkout, or site-packages
# Modules that extras bring, and that the package imports without a check of its own.
OPTIONAL = {
    *('PIL', 'cv2', 'gradio', 'jinja2', 'matplotlib'),
    *('mmcv', 'mmengine', 'mmseg', 'numpy', 'rich', 'safetensors', 'torch'),
}


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """A missing module in this block becomes one line that names the extra.

    Args:
        what: that needs the module, such as ``get_model``.

    Raises:
        ModuleNotFoundError: one of the modules that extras bring is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not is_optional(error):
            raise
        message = f'{what} needs {error.name}, which is not installed; run: {command(extra)}'
        raise ModuleNotFoundError(message, name=error.name) from error


def is_optional(error: ModuleNotFoundError) -> bool:
    """Whether an extra brings the module that is missing."""
    return str(error.name).partition('.')[0] in OPTIONAL


def command(extra: str) -> str:
    """The pip command that installs the requirements of an extra, such as ``export``.

    It names the checkout or the file that the package came from. If that is unknown or deleted, for example after an
    installation from a package index, it names the requirements themselves.
    """
    source = _source()
    if source:
        flag = '-e ' if is_editable() else ''
        return f'pip install {flag}"{source.format(extra=f"[{extra}]")}"'
    requirements = ' '.join(f'"{requirement}"' for requirement in _requirements(extra))
    return f'pip install {requirements}' if requirements else f'reinstall {NAME} with its extra [{extra}]'


def is_editable() -> bool:
    """Whether the package was installed with ``pip install -e``."""
    return _direct_url().get('dir_info', {}).get('editable', False)


def _source() -> str:
    """What pip installed the package from, with ``{extra}`` in the place of an extra; empty if that is unknown."""
    if (ROOT / 'pyproject.toml').is_file():
        return f'{ROOT}{{extra}}'
    origin = _direct_url()
    url = origin.get('url', '')
    if url.startswith('file:') and 'vcs_info' not in origin:
        path = Path(url2pathname(urlparse(url).path), origin.get('subdirectory', ''))
        return f'{path}{{extra}}' if path.exists() else ''
    if 'vcs_info' in origin:
        vcs = origin['vcs_info']
        url = f'{vcs["vcs"]}+{url}@{vcs["commit_id"]}'
    if 'subdirectory' in origin:
        url += f'#subdirectory={origin["subdirectory"]}'
    return f'{NAME}{{extra}} @ {url}' if url else ''


def _direct_url() -> dict:
    """What pip wrote about the origin of the package (PEP 610); empty for an installation from an index."""
    try:
        return json.loads(importlib.metadata.distribution(NAME).read_text('direct_url.json') or '{}')
    except importlib.metadata.PackageNotFoundError:
        return {}


def _requirements(extra: str) -> list[str]:
    """Requirements of the extra as the installed metadata list them, with their markers for Python or the platform."""
    try:
        requirements = importlib.metadata.requires(NAME) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    # Parsed by hand, because `packaging` may be missing.
    condition = re.compile(rf"""(\s*and\s+)?extra\s*==\s*["']{extra}["']""")
    found = []
    for requirement in requirements:
        name, _, marker = requirement.partition(';')
        if condition.search(marker):
            marker = condition.sub('', marker).strip().replace('"', "'")
            found.append(f'{name.strip()}; {marker}' if marker else name.strip())
    return found
