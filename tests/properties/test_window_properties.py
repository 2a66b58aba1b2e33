"""Windows of the protocols lie in the image, have the size of the crop, and cover every pixel."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import ConfigDict

from mmseg_bisenet.models.inference import protocols

pairs = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(size=pairs, crop=pairs, share=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_windows_cover_the_image(size, crop, share):
    stride = [max(1, int(part * length)) for part, length in zip(share, crop, strict=True)]
    covered = np.zeros(size, int)
    for rows, columns in protocols.windows(size, ConfigDict(mode='slide', crop_size=crop, stride=stride)):
        assert covered[rows, columns].shape == tuple(map(min, size, crop))
        covered[rows, columns] += 1
    assert covered.min() >= 1
    assert (covered == 1).all() or any(length > window for length, window in zip(size, crop, strict=True))
