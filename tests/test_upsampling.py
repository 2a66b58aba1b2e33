"""Labels on arrays, by Numba and by NumPy, against those of PyTorch."""

import numpy as np
import pytest
import torch

from mmseg_bisenet import openmp, upsampling
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference.upsample_argmax import reference
from mmseg_bisenet.models.inference.upsample_argmax import upsample_argmax as of_tensors
from mmseg_bisenet.upsampling import _run as run
from mmseg_bisenet.upsampling import upsample_argmax


@pytest.fixture(params=['numba', 'numpy'], autouse=True)
def kernel(request, monkeypatch) -> str:
    if request.param == 'numba':
        pytest.importorskip('numba')
    else:
        monkeypatch.setattr(upsampling, '_kernel', lambda: None)
        monkeypatch.setattr(upsampling, 'STRIP', 2**10)  # so that a small image has several strips
    monkeypatch.setattr(upsampling, 'JOB', 2**8)  # and several threads
    return request.param


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('threads', [1, 3])
def test_labels_of_pytorch(align_corners, threads):
    """Small integers times sixteenths are exact in any order, and often tie; random shapes tie hardly ever."""
    logits = torch.randint(-3, 4, (2, 19, 12, 20)).float()
    if not align_corners:
        labels = upsample_argmax(logits.numpy(), (96, 160), align_corners, threads)
        np.testing.assert_array_equal(labels, reference(logits, (96, 160), align_corners))
    random = np.random.default_rng(0)
    for _ in range(20):
        height, width, new_height, new_width = random.integers(1, [20, 30, 90, 300]).tolist()
        logits = torch.randn(random.integers(1, 4), random.integers(1, 25), height, width)
        labels = upsample_argmax(logits.numpy(), (new_height, new_width), align_corners, threads)
        assert labels.dtype == np.uint8
        wanted = reference(logits, (new_height, new_width), align_corners).numpy()
        assert (labels == wanted).mean() >= 0.999


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_not_finite(value):
    logits = torch.randn(2, 5, 8, 12)
    logits[0, 3, 2:4, 5] = logits[1, 4] = value
    np.testing.assert_array_equal(upsample_argmax(logits.numpy(), (64, 96)), reference(logits, (64, 96)))


@pytest.mark.parametrize('with_openmp', [True, False])
def test_the_threads_of_openmp(kernel, monkeypatch, with_openmp):
    """All of them, since libgomp ends those that a smaller team leaves out; our own where there are none."""
    called = []
    parallel = openmp.parallel()
    if with_openmp and (kernel == 'numpy' or parallel is None):
        pytest.skip("NumPy, or another OpenMP than GCC's")
    spy = lambda *args: (called.append(args[2]), parallel(*args))  # noqa: E731
    monkeypatch.setattr(openmp, 'parallel', lambda: spy if with_openmp else None)
    monkeypatch.setattr(upsampling, '_run', lambda work, *counts: (called.append(counts), run(work, *counts)))
    logits = np.random.default_rng(0).standard_normal((3, 5, 9, 12), np.float32)
    wanted = upsample_argmax(logits, (71, 90))
    for threads in (1, 2, 100):
        called.clear()
        np.testing.assert_array_equal(upsample_argmax(logits, (71, 90), threads=threads, in_openmp=True), wanted)
        assert called == ([threads] if with_openmp else [(min(threads, 75), threads)])


def test_a_forked_process_does_not_wait_for_threads_of_openmp(monkeypatch):
    """They are its parent's."""
    monkeypatch.setattr(upsampling, 'PROCESS', -1)
    monkeypatch.setattr(openmp, 'parallel', lambda: pytest.fail('called'))
    assert upsample_argmax(np.eye(2)[None, :, None], (1, 4), threads=2, in_openmp=True).tolist() == [[[0, 0, 1, 1]]]


def test_other_types_and_strides():
    logits = np.random.default_rng(0).standard_normal((2, 14, 8, 24)).astype(np.float16)[:, ::2, :, ::2]
    wanted = upsample_argmax(np.ascontiguousarray(logits, np.float32), (61, 97))
    np.testing.assert_array_equal(upsample_argmax(logits, (61, 97)), wanted)


def test_no_image_and_too_many_classes():
    assert upsample_argmax(np.zeros((0, 3, 2, 2)), (4, 5)).shape == (0, 4, 5)
    with pytest.raises(InputError, match='logits of 257 classes: labels are uint8; use a model of at most 256 classes'):
        upsample_argmax(np.zeros((1, 257, 2, 2)), (4, 4))


@pytest.mark.parametrize(
    'shape, size, reason',
    [
        ((1, 0, 2, 2), (4, 4), r'logits of shape \(1, 0, 2, 2\): give \(N, C, h, w\) with classes and pixels'),
        ((1, 3, 0, 2), (4, 4), r'logits of shape \(1, 3, 0, 2\): give \(N, C, h, w\) with classes and pixels'),
        ((3, 2, 2), (4, 4), r'logits of shape \(3, 2, 2\): give \(N, C, h, w\)'),
        ((1, 3, 2, 2), (0, 4), r'size=\(0, 4\): give a height and a width of 1 or more'),
        ((1, 3, 2, 2), (4, -1), r'size=\(4, -1\): give a height and a width of 1 or more'),
        ((1, 3, 2, 2), (4.0, 4), r'size=\(4.0, 4\): give \(height, width\) in pixels'),
        ((1, 3, 2, 2), 4, r'size=4: give \(height, width\) in pixels'),
    ],
)
def test_what_has_no_labels(shape, size, reason):
    for labels in (upsample_argmax, lambda logits, size: of_tensors(torch.from_numpy(logits), size)):
        with pytest.raises(InputError, match=reason):
            labels(np.zeros(shape, np.float32), size)


@pytest.mark.parametrize('threads', [0, -1, 1.5, True])
def test_threads_are_one_or_more(threads):
    with pytest.raises(InputError, match=rf'^threads={threads}: give 1 or more$'):
        upsample_argmax(np.zeros((1, 3, 2, 2), np.float32), (4, 4), threads=threads)
