"""A network as one CUDA graph, from pixels to labels, which any thread may call.

Launching a hundred small kernels takes as long as running them; a graph launches all of them at once. The graphs that
``torch.compile`` records itself (mode ``reduce-overhead``) belong to the thread that first imported them, and fail in
every other one (pytorch/pytorch#123177).
"""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls before the recording: cuDNN chooses its convolutions, and Triton compiles
recording = threading.Lock()  # PyTorch records one graph at a time


class CudaGraph:
    """The graph of ``function``, recorded for images of one shape.

    Images are copied into the graph's own memory, and labels out of it. A lock keeps the calls of several threads
    apart, and an event those of several streams.

    Args:
        function: images -> labels. It does not wait for the GPU.
        images: (N, H, W, 3) uint8 on the GPU; the graph keeps them as its memory.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], images: Tensor) -> None:
        self._function = function  # the graph reads its weights
        self._images = images
        self._lock = threading.Lock()
        with recording, torch.cuda.device_of(images), torch.inference_mode():
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    function(images)
            torch.cuda.current_stream().wait_stream(stream)
            self._done = torch.cuda.Event()
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may allocate memory meanwhile.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode='thread_local'):
                self._labels = function(images)

    def __call__(self, images: Tensor) -> Tensor:
        """images: (N, H, W, 3) uint8 on the GPU, of the shape that was recorded -> labels (N, H, W) uint8."""
        with self._lock, torch.cuda.device_of(images):
            torch.cuda.current_stream().wait_event(self._done)
            self._images.copy_(images)
            self._graph.replay()
            labels = self._labels.clone()
            self._done.record()
        return labels
