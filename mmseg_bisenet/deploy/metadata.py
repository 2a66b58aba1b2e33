"""What an exported file says about itself: one JSON text, which each format keeps in its own place.

ONNX and OpenVINO files hold the text under the key ``mmseg_bisenet``. That of other files lies beside them, as
``FILE.json``. Reading checks that the file is ours, of this version and whole.
"""

import json
from pathlib import Path
from typing import Any

from mmseg_bisenet.deploy.backends import FORMATS, Exported
from mmseg_bisenet.errors import InputError

FORMAT_VERSION = 1
SUFFIXES = {name: backend.suffix for name, backend in FORMATS.items()}


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
        InputError: no such file, one of another program or of another version, or one cut short.
    """
    return read(path).metadata


def read(path: str | Path) -> Exported:
    """The file with its metadata, as :func:`read_metadata` gives them."""
    path = Path(path)
    backends = {backend.suffix: backend for backend in FORMATS.values()}
    if path.suffix not in backends:
        raise InputError(f'exported file {path}: its name ends in none of {", ".join(backends)}; give the file itself')
    if not path.is_file():
        raise InputError(f'exported file {path} does not exist; write it with mmseg-bisenet export')
    backend = backends[path.suffix]
    text: Any  # a file without metadata gives None, which is caught below
    text, model = backend.read(path)
    try:
        metadata = json.loads(text)
        version = metadata['format_version']
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f'exported file {path} has no metadata of mmseg_bisenet: another program wrote it, or it is cut short; '
            'export it again with mmseg-bisenet export'
        ) from error
    if version != FORMAT_VERSION:
        raise InputError(
            f'exported file {path} is of format version {version}, and this mmseg_bisenet reads {FORMAT_VERSION}; '
            'export it again with this one'
        )
    references = metadata.pop('references', [])
    return Exported(backend, path, metadata, model, references)
