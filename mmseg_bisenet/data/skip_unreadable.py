"""A data set that goes on where a file is wrong (``mmseg-bisenet test --keep-going``).

In place of a sample that cannot be read comes the next one that can, marked: the ``data_samples`` carry the metainfo
``skipped``, a dict of ``img_path`` and ``reason``. Batches, test-time augmentation and the number of samples of a
process stay as they are. The metric leaves marked samples out: :class:`SegmentationMetric` does, stock metrics do not.
"""

from typing import Any

from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import DATASETS


@DATASETS.register_module()
class KeepGoingDataset(Dataset):
    """Wraps a data set for testing.

    Args:
        dataset: the data set, or its cfg. Its pipeline raises :class:`InputError` for a file that is wrong.

    Raises:
        InputError: no sample at all can be read. It has the reason of the one that was asked for.
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
        raise InputError(f'no image of the data set can be used, with its label; one of them: {reason}')
