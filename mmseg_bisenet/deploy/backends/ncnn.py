"""Runtime ``ncnn``: a network of ncnn, ``.param`` with its weights in ``.param.bin``, which pnnx converts.

A file ends in logits: pnnx leaves ArgMax behind, which ncnn lacks. Its input ``in0`` is the image as ncnn's own
``Mat::from_pixels`` gives it, (3, H, W) float, 0 to 255, BGR; its output ``out0`` has the logits.

Settings (https://github.com/Tencent/ncnn/wiki): fp32 only, because ncnn by default stores and computes what it can in
fp16.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.backends.base import Engine, Exported, FileBackend, default_threads, write_beside
from mmseg_bisenet.deploy.packages import require_packages
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph

HALF = ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_packed', 'use_bf16_storage')


class Ncnn(FileBackend):
    """ncnn, on CPUs."""

    name = format = 'ncnn'
    suffix = '.param'
    precisions = ('fp32',)
    devices = ('cpu',)
    packages = ('ncnn',)
    write_packages = ('pnnx',)
    output_kinds = ('logits',)
    needs_torch = False
    free_shapes = False

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        """pnnx reads TorchScript only, so the program of torch.export is traced."""
        import torch

        from mmseg_bisenet.deploy.graph import Planes

        (pnnx,) = require_packages('pnnx')
        height, width = metadata['shape']
        planes = torch.zeros(1, 3, height, width)
        program = torch.export.export(Planes(graph), (planes,), strict=False).module()
        with tempfile.TemporaryDirectory() as folder:
            torch.jit.trace(program, planes, check_trace=False).save(f'{folder}/net.pt')
            command = [pnnx.EXEC_PATH, 'net.pt', f'inputshape=[1,3,{height},{width}]f32', 'fp16=0']
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            for made, part in zip(('net.ncnn.param', 'net.ncnn.bin'), self.parts(path), strict=True):
                if not Path(folder, made).is_file():
                    reason = next(iter(done.stderr.strip().splitlines()[-1:]), f'exit status {done.returncode}')
                    raise InputError(f'pnnx cannot convert the network ({reason}); take another format, and report it')
                shutil.move(Path(folder, made), part)
        write_beside(self.parts(path), metadata)

    def parts(self, path: Path) -> list[Path]:
        # Not `.bin` alone, which other runtimes use.
        return [path, path.with_name(f'{path.name}.bin')]

    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        (ncnn,) = require_packages('ncnn')
        network = ncnn.Net()
        network.opt.num_threads = threads or default_threads()
        for option in HALF:
            setattr(network.opt, option, False)
        param, weights = map(str, self.parts(exported.path))
        if network.load_param(param) or network.load_model(weights):
            raise InputError(
                f'exported file {exported.path} does not load in {self.name} {ncnn.__version__}; it is damaged, or of '
                'a newer version: export it again'
            )

        def run(images: np.ndarray) -> np.ndarray:
            (image,) = images
            height, width = image.shape[:2]
            extractor = network.create_extractor()
            extractor.input('in0', ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_BGR, width, height))
            return np.array(extractor.extract('out0')[1])[None]

        return run
