"""A folder that Triton Inference Server and OpenVINO Model Server both serve: ``mmseg-bisenet export … --serve DIR``.

Both read ``NAME/VERSION/model.onnx``, and both answer KServe's protocol, so one file and one client are enough. The
file goes from uint8 pixels to labels: no server needs a step before or after it.

- Triton (server/docs/user_guide/model_repository.md and model_configuration.md): each folder of the repository is a
  model, and ``config.pbtxt`` in it declares backend and tensors. With ``max_batch_size: 0``, the batch is one of the
  dimensions. Files beside the folders are ignored.
- OpenVINO Model Server (model_server/docs/models_repository.md, starting_server.md and parameters.md): ``config.json``
  names the models; a relative ``base_path`` starts at that file. OpenVINO computes in bf16 by default if the CPU has
  it, so ``plugin_config`` asks for fp32 if the file is in fp32.
"""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.metadata import read_metadata
from mmseg_bisenet.files import check_output, replacing
from mmseg_bisenet.models import BiSeNetSegmentor

PORTS = dict(http=8000, grpc=8001)  # Triton's defaults

CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: 0
input [ {{ name: "images" data_type: TYPE_UINT8 dims: [ {images} ] }} ]
output [ {{ name: "labels" data_type: TYPE_UINT8 dims: [ {labels} ] }} ]
"""

CLIENT = """\
\"\"\"pip install "tritonclient[{protocol}]" opencv-python; python client_{protocol}.py IMAGE: writes labels.png\"\"\"
import sys
import cv2
import tritonclient.{protocol} as protocol

image = cv2.imread(sys.argv[1])  # blue, green, red{resize}
images = protocol.InferInput('images', [1, *image.shape], 'UINT8')
images.set_data_from_numpy(image[None])
server = protocol.InferenceServerClient('localhost:{port}')
labels = server.infer('{name}', [images]).as_numpy('labels')[0]
cv2.imwrite('labels.png', labels)  # of the size that the model takes
"""

README = """\
# {name}

A model repository for Triton Inference Server and OpenVINO Model Server. Start one of them in this folder, or in a
container in which this folder is mounted:

    tritonserver --model-repository .
    ovms --config_path config.json --rest_port {http} --port {grpc}

Both answer KServe's protocol, HTTP on port {http} and gRPC on port {grpc}: `client_http.py` and `client_grpc.py`.

| tensor | type | shape | content |
|---|---|---|---|
| `images` | UINT8 | ({shape}, 3) | blue, green, red, 0 to 255 |
| `labels` | UINT8 | ({shape}) | class index |

| index | class | colour (red, green, blue) |
|---|---|---|
{classes}
"""


def check_folder(folder: str | Path) -> None:
    """For use before the work.

    Raises:
        InputError: the folder exists and is not empty.
    """
    check_output(folder, folder=True, fix='name a new folder with --serve')


def export_repository(
    segmentor: BiSeNetSegmentor,
    precision: str,
    shape: Sequence[int],
    folder: str | Path,
    *,
    dynamic: bool = False,
    calibration: Iterable[np.ndarray] = (),
    keep_float: Sequence[str] = (),
) -> Path:
    """Write a model repository; the path of the model in it.

    Args:
        folder: it must not exist, or must be empty.
        others: as in :func:`mmseg_bisenet.deploy.export.export`.

    Raises:
        InputError: as ``export``, or the folder exists.
    """
    check_folder(folder)
    options: dict[str, Any] = dict(
        dynamic=dynamic, output_kind='labels', calibration=calibration, keep_float=keep_float
    )
    with replacing(folder) as partial:
        partial.mkdir()
        exported = export(segmentor, 'onnx', precision, shape, partial, **options)
        metadata = read_metadata(exported)
        name = re.sub(r'[^\w.-]', '_', metadata['config'], flags=re.ASCII)  # it is part of addresses
        model = Path(name, '1', 'model.onnx')
        (partial / model.parent).mkdir(parents=True)
        exported.rename(partial / model)
        for path, text in _texts(name, metadata).items():
            (partial / path).write_text(text, encoding='utf-8')
    return Path(folder) / model


def _texts(name: str, metadata: dict) -> dict[str, str]:
    """The other files, by path."""
    height, width = metadata['shape']
    size = (-1, -1, -1) if metadata['dynamic'] else (1, height, width)
    labels = ', '.join(map(str, size))
    shape = 'N, H, W' if metadata['dynamic'] else labels
    served: dict[str, object] = dict(name=name, base_path=name)
    if metadata['precision'] == 'fp32':
        served['plugin_config'] = dict(INFERENCE_PRECISION_HINT='f32')
    resize = f'\nimage = cv2.resize(image, ({width}, {height}), interpolation=cv2.INTER_AREA)'
    resize = '' if metadata['dynamic'] else resize
    rows = [
        f'| {index} | {label} | {", ".join(map(str, colour))} |'
        for index, (label, colour) in enumerate(zip_longest(metadata['classes'], metadata['palette'], fillvalue=()))
    ]
    clients = {
        f'client_{protocol}.py': CLIENT.format(name=name, protocol=protocol, port=port, resize=resize)
        for protocol, port in PORTS.items()
    }
    return clients | {
        f'{name}/config.pbtxt': CONFIG.format(name=name, images=f'{labels}, 3', labels=labels),
        'config.json': json.dumps(dict(model_config_list=[dict(config=served)]), indent=2) + '\n',
        'README.md': README.format(name=name, classes='\n'.join(rows), shape=shape, **PORTS),
    }
