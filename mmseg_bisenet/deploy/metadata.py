"""What an exported file says of itself: one JSON text under the key ``mmseg_bisenet``.

ONNX keeps it in ``metadata_props``, OpenVINO in the model's ``rt_info``; a package of AOTInductor and an engine of
TensorRT have it beside them, as ``FILE.json``. Reading checks that the file is ours, of this version and whole.
"""

import importlib
import json
import xml.etree.ElementTree
from pathlib import Path
from types import ModuleType

from mmseg_bisenet.errors import InputError

KEY = 'mmseg_bisenet'
FORMAT_VERSION = 1
SUFFIXES = dict(onnx='.onnx', openvino='.xml', pt2='.pt2', tensorrt='.engine')


def require(*names: str, cure: str = 'run: pip install "mmseg_bisenet[export]"') -> list[ModuleType]:
    """Import modules that an extra brings.

    Raises:
        InputError: it names those that are not installed.
    """
    modules, missing = [], []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            missing.append(name)
    if missing:
        raise InputError(f'{", ".join(missing)} not installed; {cure}')
    return modules


def read_metadata(path: str | Path) -> dict:
    """What :func:`mmseg_bisenet.deploy.export.export` wrote into a file.

    Args:
        path: ``.onnx``, ``.xml`` (of OpenVINO, with its ``.bin`` beside it), ``.pt2`` or ``.engine`` file.

    Returns:
        ``format_version``, ``config`` (its name), ``format``, ``precision``, ``shape`` ([H, W]), ``dynamic``,
        ``output_kind`` (``labels`` or ``logits``), ``num_classes``, ``align_corners``, ``classes``, ``palette`` (RGB),
        ``mean`` and ``std`` (RGB, of pixels 0 to 255; the network holds them already; None if it was deployed before,
        or does not normalise), ``channel_order`` (``bgr``), ``opset`` (None but for ONNX), ``versions`` and for
        ``.pt2`` the ``device`` that it is for.

    Raises:
        InputError: no such file, one of another program or of another version, or one cut short.
    """
    path = Path(path)
    readers = dict(zip(SUFFIXES.values(), (_read_onnx, _read_openvino, _read_beside, _read_beside), strict=True))
    if path.suffix not in readers:
        raise InputError(f'exported file {path}: its name ends in none of {", ".join(readers)}; give the file itself')
    if not path.is_file():
        raise InputError(f'exported file {path} does not exist; write it with mmseg-bisenet export')
    text = readers[path.suffix](path)
    try:
        metadata = json.loads(text)
        version = metadata['format_version']
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f'exported file {path} has no metadata of mmseg_bisenet: another program wrote it, or it is cut short; '
            'export it anew with mmseg-bisenet export'
        ) from error
    if version != FORMAT_VERSION:
        raise InputError(
            f'exported file {path} is of format version {version}, and this mmseg_bisenet reads {FORMAT_VERSION}; '
            'export it anew with this one'
        )
    return metadata


def beside(path: Path) -> Path:
    """Where the metadata of a file lies that cannot hold it."""
    return path.with_name(f'{path.name}.json')


def _cut_short(path: Path) -> InputError:
    return InputError(f'exported file {path} is cut short or damaged; copy it again, or export it anew')


def _read_onnx(path: Path) -> str | None:
    (onnx,) = require('onnx')
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise _cut_short(path) from error
    # They come after the graph: a file that is cut short between two fields has none.
    return {item.key: item.value for item in model.metadata_props}.get(KEY)


def _read_openvino(path: Path) -> str | None:
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except xml.etree.ElementTree.ParseError as error:
        raise _cut_short(path) from error
    node = root.find(f'rt_info/{KEY}')
    if node is None:
        return None
    weights = path.with_suffix('.bin')
    if not weights.is_file():
        raise InputError(f'exported file {path} lacks {weights.name} beside it, which has its weights; copy both')
    ends = (int(data.get('offset')) + int(data.get('size')) for data in root.iterfind('.//layer[@type="Const"]/data'))
    if weights.stat().st_size < max(ends, default=0):
        raise _cut_short(weights)
    return node.get('value')


def _read_beside(path: Path) -> str | None:
    if not beside(path).is_file():
        raise InputError(
            f'exported file {path} lacks {beside(path).name} beside it, or another program wrote it; copy both, or '
            'export it anew'
        )
    text = beside(path).read_text()
    try:
        size = json.loads(text)['bytes']
    except (TypeError, ValueError, KeyError):
        return None
    if path.stat().st_size != size:
        raise _cut_short(path)
    return text
