"""Labels from one pass against those of ``F.interpolate`` and ``argmax``."""

import multiprocessing
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_bisenet import upsampling
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import inference
from mmseg_bisenet.models.inference import upsample_argmax as module
from mmseg_bisenet.models.inference.upsample_argmax import reference, upsample_argmax


@pytest.fixture(params=['numba', 'strips'])
def implementation(request, monkeypatch) -> str:
    """Both implementations for CPUs."""
    if request.param == 'numba':
        pytest.importorskip('numba')
    else:
        monkeypatch.setattr(upsampling, '_kernel', lambda: None)
        monkeypatch.setattr(module, 'STRIP', 2**10)  # so that a small image has several strips
    return request.param


def assert_labels(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> None:
    """Equal to the reference; either class if the two largest logits are equal up to rounding."""
    labels = upsample_argmax(logits, size, align_corners)
    assert (labels.dtype, labels.shape) == (torch.uint8, (len(logits), *size))
    want = reference(logits, size, align_corners)
    upsampled = F.interpolate(logits.float(), size, mode='bilinear', align_corners=align_corners)
    chosen = upsampled.gather(1, labels[:, None].long())
    highest = upsampled.amax(1, keepdim=True)
    assert (highest - chosen <= 1e-4 * highest.abs()).all()
    assert (labels == want).float().mean() >= 0.999


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('classes', [1, 2, 3, 19, 171, 256])
def test_labels_of_reference(implementation, classes, align_corners):
    assert_labels(torch.randn(2, classes, 9, 17), (72, 136), align_corners)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    ('small', 'large'),
    [
        ((8, 16), (64, 128)),
        ((8, 16), (57, 121)),
        ((5, 37), (33, 290)),  # more than one tile, the last one incomplete
        ((23, 31), (7, 5)),  # smaller
        ((16, 16), (16, 16)),  # the same
        ((7, 40), (50, 11)),
        ((1, 1), (9, 9)),
        ((6, 6), (1, 1)),
    ],
)
def test_any_ratio(implementation, small, large, align_corners):
    assert_labels(torch.randn(2, 5, *small), large, align_corners)


def test_random_shapes(implementation):
    random = np.random.default_rng(0)
    for _ in range(60):
        height, width, new_height, new_width = random.integers(1, [20, 30, 90, 300]).tolist()
        logits = torch.randn(random.integers(1, 4), random.integers(1, 25), height, width)
        assert_labels(logits, (new_height, new_width), bool(random.integers(2)))


@pytest.mark.parametrize('classes', [2, 19])
def test_exact_arithmetic_is_equal_everywhere(implementation, classes):
    """Small integers times sixteenths are exact in any order, and often tie."""
    logits = torch.randint(-3, 4, (2, classes, 12, 20)).float()
    assert torch.equal(upsample_argmax(logits, (96, 160)), reference(logits, (96, 160)))


def test_first_of_equals(implementation):
    logits = torch.randn(1, 1, 6, 10).expand(1, 4, 6, 10).clone()
    logits[:, 0] -= 1
    assert (upsample_argmax(logits, (48, 80)) == 1).all()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_interpolated_in_float32(implementation, dtype):
    logits = torch.randn(1, 7, 8, 12).to(dtype)
    assert torch.equal(upsample_argmax(logits, (61, 97)), upsample_argmax(logits.float(), (61, 97)))


def test_memory_formats(implementation):
    logits = torch.randn(2, 7, 8, 12)
    want = upsample_argmax(logits, (64, 96))
    assert torch.equal(upsample_argmax(logits.contiguous(memory_format=torch.channels_last), (64, 96)), want)
    every_second = torch.randn(2, 14, 8, 24)[:, ::2, :, ::2].copy_(logits)
    assert torch.equal(upsample_argmax(every_second, (64, 96)), want)
    assert torch.equal(upsample_argmax(logits.requires_grad_(), torch.Size((64, 96))), want)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_not_finite(implementation, value, align_corners):
    """As in PyTorch: the first NaN is the largest, and infinity times a weight of zero is NaN."""
    logits = torch.randn(2, 5, 8, 12)
    logits[0, 3, 2:4, 5] = value
    logits[:, 1, 0] = value
    logits[1, 4] = value
    size = (64, 96)
    assert torch.equal(upsample_argmax(logits, size, align_corners), reference(logits, size, align_corners))


def test_one_class_is_all_zeros(implementation):
    assert torch.equal(upsample_argmax(torch.randn(2, 1, 3, 4), (5, 6)), torch.zeros(2, 5, 6, dtype=torch.uint8))


def test_too_many_classes():
    message = 'logits of 257 classes: labels are uint8; use a model of at most 256 classes'
    for labels in upsample_argmax, reference:
        with pytest.raises(InputError, match=message):
            labels(torch.zeros(1, 257, 2, 2), (4, 4))


def test_empty_batch():
    assert upsample_argmax(torch.zeros(0, 3, 2, 2), (4, 5)).shape == (0, 4, 5)


@pytest.mark.parametrize('align_corners', [False, True])
def test_exports_as_the_plain_form(align_corners):
    class Labels(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return upsample_argmax(x, (64, 96), align_corners)

    logits = torch.randn(1, 5, 8, 12)
    program = torch.export.export(Labels(), (logits,))
    calls = {str(node.target) for node in program.graph.nodes if node.op == 'call_function'}
    calls.discard('aten._assert_tensor_metadata.default')
    assert calls == {'aten.upsample_bilinear2d.vec', 'aten.argmax.default', 'aten.to.dtype'}
    assert torch.equal(program.module()(logits), reference(logits, (64, 96), align_corners))


def test_threads_change_nothing(implementation, monkeypatch):
    monkeypatch.setattr(upsampling, 'JOB', 2**8)
    logits = torch.randn(3, 5, 9, 12)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = upsample_argmax(logits, (71, 90))
        torch.set_num_threads(4)
        assert torch.equal(upsample_argmax(logits, (71, 90)), want)
        with ThreadPoolExecutor(4) as pool:
            for labels in pool.map(lambda _: upsample_argmax(logits, (71, 90)), range(40)):
                assert torch.equal(labels, want)
    finally:
        torch.set_num_threads(before)


def _child(queue, logits: np.ndarray) -> None:
    torch.set_num_threads(2)
    queue.put(upsample_argmax(torch.from_numpy(logits), (64, 96)).numpy())


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
def test_after_fork(monkeypatch):
    """Data loader workers do not have their parent's threads."""
    pytest.importorskip('numba')
    monkeypatch.setattr(upsampling, 'JOB', 2**8)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    logits = torch.randn(1, 5, 8, 12)
    want = upsample_argmax(logits, (64, 96))
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue, logits.numpy()))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # about forking a process with threads
        child.start()
    try:
        assert np.array_equal(queue.get(timeout=60), want.numpy())
    finally:
        child.kill()
        child.join()


def test_when_the_interpreter_ends(monkeypatch):
    """Threads that outlive the main thread cannot submit work to a pool."""
    pytest.importorskip('numba')
    monkeypatch.setattr(upsampling, 'JOB', 2**8)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 3)
    logits = torch.randn(1, 5, 8, 12)
    want = upsample_argmax(logits, (64, 96))
    ended = ThreadPoolExecutor(3)
    ended.shutdown()
    monkeypatch.setattr(upsampling, '_pool', lambda *_: ended)
    assert torch.equal(upsample_argmax(logits, (64, 96)), want)


def test_no_folder_for_the_compiled_kernel(monkeypatch):
    """Without a writable cache folder Numba compiles the kernel without caching it."""
    caching = pytest.importorskip('numba.core.caching')
    monkeypatch.setattr(caching.CacheImpl, '_locator_classes', [])
    kernel = upsampling._kernel.__wrapped__()
    assert kernel._cache.cache_path is None
    monkeypatch.setattr(upsampling, '_kernel', lambda: kernel)
    assert upsample_argmax(torch.eye(2)[None, :, None], (1, 4)).tolist() == [[[0, 0, 1, 1]]]


class TestOnCuda:
    """What chooses the implementation for CUDA, run on a CPU; test_upsample_argmax_triton.py runs the kernel."""

    @pytest.fixture(autouse=True)
    def again(self, monkeypatch):
        monkeypatch.setattr(module, '_triton_failed', False)

    def use(self, monkeypatch, function) -> None:
        name = 'upsample_argmax_triton'
        stand_in = SimpleNamespace(upsample_argmax=function)
        monkeypatch.setitem(sys.modules, f'mmseg_bisenet.models.inference.{name}', stand_in)
        monkeypatch.setattr(inference, name, stand_in, raising=False)

    def test_labels_of_the_kernel(self, monkeypatch):
        self.use(monkeypatch, reference)
        logits = torch.randn(1, 5, 8, 12)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            labels = module._on_cuda(logits, torch.Size((64, 96)), True)
        assert torch.equal(labels, reference(logits, (64, 96), True))

    def test_goes_on_without_triton(self, monkeypatch):
        def broken(*_):
            raise RuntimeError('Failed to find C compiler.\nMore.')

        self.use(monkeypatch, broken)
        logits = torch.randn(1, 5, 8, 12)
        message = 'Triton fails, so labels take more time and memory: Failed to find C compiler.$'
        with pytest.warns(UserWarning, match=message) as caught:
            for _ in range(2):
                assert torch.equal(module._on_cuda(logits, (64, 96), False), reference(logits, (64, 96)))
        assert len(caught) == 1

    def test_full_memory_is_no_reason_to_take_more(self, monkeypatch):
        def full(*_):
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')

        self.use(monkeypatch, full)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            module._on_cuda(torch.randn(1, 5, 8, 12), (64, 96), False)
