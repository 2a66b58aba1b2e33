"""Class ids of a training and of its validation mean the same."""

from types import SimpleNamespace

import pytest

from mmseg_bisenet.data.agreement import check_agreement
from mmseg_bisenet.errors import InputError


def dataset(*classes: str, reduce_zero_label: bool = False) -> SimpleNamespace:
    return SimpleNamespace(metainfo=dict(classes=classes or None), reduce_zero_label=reduce_zero_label)


@pytest.mark.parametrize(
    'datasets',
    [
        dict(),  # data in no folders are not built before the Runner
        dict(train=dataset('a', 'b')),
        dict(train=dataset('a', 'b'), val=dataset('a', 'b')),
        dict(train=dataset('a', 'b'), val=dataset()),
        dict(train=dataset('a', reduce_zero_label=True), val=dataset('a', reduce_zero_label=True)),
    ],
)
def test_what_agrees(datasets):
    check_agreement(datasets)


def test_another_order():
    with pytest.raises(
        InputError, match=r'^class 1 is b in train and c in test; set test\.metainfo\.classes to the na'
    ):
        check_agreement(dict(train=dataset('a', 'b'), val=dataset('a', 'b'), test=dataset('a', 'c')))


def test_moved_ids():
    with pytest.raises(InputError, match=r'^reduce_zero_label is False in train and True in val, so their ids are of'):
        check_agreement(dict(train=dataset('a'), val=dataset('a', reduce_zero_label=True)))
