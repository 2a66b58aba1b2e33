"""Scores equal their definitions, pixel by pixel, for any labels; and do not depend on how pixels are grouped."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmseg_bisenet.evaluation import boundary, confusion


@st.composite
def pairs(draw, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps (H, W) of one size, of a few ids."""
    shape = draw(st.integers(1, side)), draw(st.integers(1, side))
    ids = st.sampled_from(draw(st.lists(st.integers(0, 255), min_size=1, max_size=4, unique=True)))
    return draw(arrays.arrays(np.uint8, shape, elements=ids)), draw(arrays.arrays(np.uint8, shape, elements=ids))


@given(pairs())
def test_pairs_of_ids_are_counted(labels):
    counts = confusion.count(*labels)
    assert counts.sum() == labels[0].size
    for truth in np.unique(labels[0]):
        for found in np.unique(labels[1]):
            assert counts[truth, found] == ((labels[0] == truth) & (labels[1] == found)).sum()


@given(pairs(), st.data())
def test_counts_add_up(labels, data):
    cut = data.draw(st.integers(0, len(labels[0])))
    parts = [confusion.count(*(each[rows] for each in labels)) for rows in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal(sum(parts), confusion.count(*labels))


@given(arrays.arrays(np.int64, st.integers(1, 6).map(lambda n: (n, n)), elements=st.integers(0, 1000)))
def test_scores_are_those_of_their_definitions(counts):
    scores = confusion.class_scores(counts)
    for index in range(len(counts)):
        right, truth, found = counts[index, index], counts[index].sum(), counts[:, index].sum()
        union = truth + found - right
        np.testing.assert_allclose(scores['IoU'][index], 100 * right / union if union else np.nan)
        np.testing.assert_allclose(scores['Acc'][index], 100 * right / truth if truth else np.nan)
    assert np.isnan(scores['IoU']).all() or 0 <= confusion.summary(counts)['mIoU'] <= 100


@given(pairs(), st.sampled_from([0, 255]))
def test_boundaries_by_distance(labels, ignored):
    """A pixel is on the boundary if a pixel of another id, or outside of the image, is at most d away."""
    ids = labels[0]
    distance = max(1, round(0.02 * np.hypot(*ids.shape)))
    padded = np.pad(ids.astype(int), distance, constant_values=-1)
    found = boundary.boundary(ids, ignored)
    for y, x in np.ndindex(*ids.shape):
        window = padded[y : y + 2 * distance + 1, x : x + 2 * distance + 1]
        outside = np.where(window < 0, ignored, window)
        assert found[y, x] == (outside != ids[y, x]).any()
