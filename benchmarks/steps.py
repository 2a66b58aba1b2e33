"""What the benchmarks of training steps share: a synthetic batch, and the optimizer of a config in full precision."""

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample


def synthetic_batch(batch: int, size: tuple[int, int], classes: int) -> dict:
    """Random uint8 images (3, H, W) and random labels (1, H, W), as the data pipeline packs them."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(batch):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, classes, (1, *size), generator=generator))
        samples.append(sample)
    pixels = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    return dict(inputs=list(pixels), data_samples=samples)


def without_precision(optim_wrapper: dict) -> dict:
    """The optimizer of a config and its parameter rules, without the settings of mixed precision."""
    return {key: optim_wrapper[key] for key in ('optimizer', 'paramwise_cfg', 'constructor') if key in optim_wrapper}
