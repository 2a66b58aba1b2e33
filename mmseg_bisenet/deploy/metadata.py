"""What an exported file says about itself: one JSON text, which each format keeps in its own place.

Formats with metadata of their own hold the text under the key ``mmseg_bisenet``. That of other files lies beside them,
as ``FILE.json``. Reading checks that the file is ours, of this version and whole.

The text has a checksum of the file, of its parts and of itself: :func:`seal` computes it with zeros in its place, and
then writes it there, whatever the format. Files of version 0.1 have none, and are refused as edited ones are: what
their metadata say, such as ``align_corners``, cannot be seen in the graph.
"""

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmseg_bisenet.deploy.backends import FORMATS, Exported, FileBackend
from mmseg_bisenet.deploy.backends.base import beside, cut_short
from mmseg_bisenet.deploy.precision import NAMES
from mmseg_bisenet.errors import InputError, require_paths
from mmseg_bisenet.palette import fault_of_names
from mmseg_bisenet.sizes import MEGAPIXELS

FORMAT_VERSION = 1
MARK, ZEROS = b'mmseg_bisenet-crc32:', b'00000000'  # hexadecimal digits follow
UNSEALED = (MARK + ZEROS).decode()
# What the values have to be.
FIELDS: dict[str, Callable[[Any], bool]] = {
    'shape': lambda value: _is_shape(value),
    'num_classes': lambda value: _is_count(value),
    'precision': lambda value: value in NAMES,
    'output_kind': lambda value: value in ('labels', 'logits'),
    'dynamic': lambda value: isinstance(value, bool),
    'align_corners': lambda value: isinstance(value, bool),
}
# The same of values that not every file has.
OPTIONAL: dict[str, Callable[[Any], bool]] = {
    'config': lambda value: isinstance(value, str),
    'device': lambda value: value in ('cpu', 'cuda'),
    'channel_order': lambda value: value == 'bgr',
    'versions': lambda value: isinstance(value, dict),
    'references': lambda value: isinstance(value, list) and all(map(_is_reference, value)),
}
SUFFIXES = {name: backend.suffix for name, backend in FORMATS.items()}


def is_exported(name: object) -> bool:
    """Whether a name is that of an exported file."""
    return isinstance(name, str | Path) and Path(name).suffix in SUFFIXES.values()


def read_metadata(path: str | Path) -> dict:
    """What :func:`mmseg_bisenet.deploy.export.export` wrote into a file.

    Args:
        path: a file whose name ends in one of ``SUFFIXES``, with the files that lie beside it.

    Returns:
        ``format_version``, ``config`` (its name), ``format``, ``precision``, ``shape`` ([H, W]), ``dynamic``,
        ``output_kind`` (``labels`` or ``logits``), ``num_classes``, ``align_corners``, ``classes``, ``palette`` (RGB),
        ``mean`` and ``std`` (RGB, of pixels 0 to 255; the network holds them already; None if it was deployed before,
        or does not normalise), ``channel_order`` (``bgr``), ``opset`` (None except for ONNX), ``versions`` and for
        ``.pt2`` the ``device`` that it is for.

    Raises:
        InputError: no such file, one of another program or of another version, or one that is cut short, damaged or
            edited.
    """
    return read(path).metadata


def read(path: str | Path) -> Exported:
    """The file with its metadata, as :func:`read_metadata` gives them."""
    require_paths(path=path)
    path = Path(path)
    backends = {backend.suffix: backend for backend in FORMATS.values()}
    if path.suffix not in backends:
        raise InputError(f'exported file {path}: its name ends in none of {", ".join(backends)}; give the file itself')
    if not path.is_file():
        raise InputError(f'exported file {path} does not exist; write it with mmseg-bisenet export')
    backend = backends[path.suffix]
    _require_whole(backend, path)
    text: Any  # a file without metadata gives None, which is caught below
    text, model = backend.read(path)
    try:
        metadata = json.loads(text)
        version = metadata['format_version']
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise InputError(
            f'exported file {path} has no metadata of mmseg_bisenet: another program wrote it, or it is cut short; '
            'export it again with mmseg-bisenet export'
        ) from error
    if version != FORMAT_VERSION:
        raise InputError(
            f'exported file {path} is of format version {version!r}, and this mmseg_bisenet reads {FORMAT_VERSION}; '
            'export it again with this one'
        )
    if fault := _fault(metadata, backend):
        raise InputError(f'exported file {path} has wrong metadata: {fault}; export it again')
    checksum = metadata.pop('checksum', None)
    if checksum is None:
        raise InputError(
            f'exported file {path} has no checksum: it was edited, or is of an earlier version; export it again'
        )
    if not re.fullmatch(f'{MARK.decode()}[0-9a-f]{{8}}', str(checksum)):  # one wrong bit there, too
        raise cut_short(path)
    references = metadata.pop('references', [])
    return Exported(backend, path, metadata, model, references)


def _fault(metadata: dict, backend: FileBackend) -> str | None:
    """What is missing, or cannot be."""
    tests = FIELDS | dict(
        format=lambda value: value == backend.format,
        classes=lambda value: isinstance(value, list) and len(value) == metadata['num_classes'],
        palette=lambda value: isinstance(value, list),
    )
    for name, test in tests.items():
        if name not in metadata:
            return f'it has no {name}'
        if not test(metadata[name]):
            return f'{name} is {str(metadata[name])[:100]!r}'
    for name, test in OPTIONAL.items():
        if name in metadata and not test(metadata[name]):
            return f'{name} is {str(metadata[name])[:100]!r}'
    fault = fault_of_names(metadata)
    return f'it {fault}' if fault else None


# -- checksum ----------------------------------------------------------------------------------------------------------


def seal(backend: FileBackend, path: Path) -> None:
    """Replace ``UNSEALED`` in the metadata of a file by the checksum."""
    files = _files(backend, path)
    value, _ = _checksum(files)
    for file in files:
        content = file.read_bytes()
        if MARK in content:
            file.write_bytes(content.replace(UNSEALED.encode(), MARK + value))


def _require_whole(backend: FileBackend, path: Path) -> None:
    files = _files(backend, path)
    value, recorded = _checksum(files)
    if recorded - {value} and all(part.is_file() for part in backend.parts(path)):
        names = ' or '.join([str(path), *(file.name for file in files if file != path)])
        raise cut_short(names)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_shape(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))
    return is_pair and value[0] * value[1] <= MEGAPIXELS * 1e6


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ('image', 'labels'))


def _files(backend: FileBackend, path: Path) -> list[Path]:
    return [file for file in (*backend.parts(path), beside(path)) if file.is_file()]


def _checksum(files: list[Path]) -> tuple[bytes, set[bytes]]:
    """The checksum of the files as it should be, and those that they have."""
    value, recorded = 0, set()
    for file in files:
        content = file.read_bytes()
        start = content.find(MARK)
        while start >= 0:
            start += len(MARK)
            end = start + len(ZEROS)
            recorded.add(content[start:end])
            content = content[:start] + ZEROS + content[end:]
            start = content.find(MARK, end)
        value = zlib.crc32(content, value)
    return f'{value:08x}'.encode(), recorded
