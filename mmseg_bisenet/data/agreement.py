"""Whether the data sets of a training and its validation give the same meaning to a class id."""

from collections.abc import Mapping

from mmseg.datasets import BaseSegDataset

from mmseg_bisenet.errors import InputError


def check_agreement(datasets: Mapping[str, BaseSegDataset]) -> None:
    """Compare the names of classes, and ``reduce_zero_label``, which moves all ids by one, with the first data set.

    Args:
        datasets: by their keys in the config. Class names are compared only where both have them.

    Raises:
        InputError: it names the two data sets, and how they differ.
    """
    pairs = list(datasets.items())
    for key, dataset in pairs[1:]:
        first, base = pairs[0]
        names = zip(base.metainfo.get('classes') or (), dataset.metainfo.get('classes') or (), strict=False)
        for i, (theirs, ours) in enumerate(names):
            if theirs != ours:
                raise InputError(
                    f'class {i} is {theirs} in {first} and {ours} in {key}; set {key}.metainfo.classes to the names '
                    'and the order of the first'
                )
        if base.reduce_zero_label != dataset.reduce_zero_label:
            raise InputError(
                f'reduce_zero_label is {base.reduce_zero_label} in {first} and {dataset.reduce_zero_label} in {key}, '
                'so their ids are of different classes; set both to the same'
            )
