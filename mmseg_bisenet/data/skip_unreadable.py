"""A data set that skips files that cannot be read (``mmseg-bisenet test --keep-going``).

The next readable sample replaces one that cannot be read. It is marked: its ``data_samples`` have the metainfo
``skipped``, a dict with ``img_path`` and ``reason``. So the number of samples, the batches and test-time augmentation
do not change. The metric must ignore marked samples: :class:`SegmentationMetric` does, stock metrics do not.
"""

from typing import Any

from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import DATASETS


@DATASETS.register_module()
class SkipUnreadableDataset(Dataset):
    """A wrapper around a data set for testing.

    Args:
        dataset: the data set, or its cfg. Its pipeline must raise :class:`InputError` for a wrong file.

    Raises:
        InputError: no sample can be read. The message has the reason for the sample that was requested.
    """

    def __init__(self, dataset: BaseDataset | dict) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.metainfo = self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            return self.dataset[index]
        except InputError as error:
            reason = str(error)
        sample = self._next(index, reason)
        skipped = dict(img_path=self.dataset.get_data_info(index)['img_path'], reason=reason)
        views = sample['data_samples']  # a list with test-time augmentation
        for view in views if isinstance(views, list) else [views]:
            view.set_metainfo(dict(skipped=skipped))
        return sample

    def _next(self, index: int, reason: str) -> dict[str, Any]:
        for step in range(1, len(self)):
            try:
                return self.dataset[(index + step) % len(self)]
            except InputError:
                continue
        raise InputError(f'no image of the data set can be read together with its label; the first problem: {reason}')
