"""Data sets, loading and augmentation. Importing this package registers them in :mod:`mmseg_bisenet.registry`."""

from mmseg_bisenet.data.augmentation import PhotoMetricDistortion, RandomResizedCrop
from mmseg_bisenet.data.camvid import CamVidDataset, convert_camvid
from mmseg_bisenet.data.celebamask import CelebAMaskHQDataset, convert_celebamask
from mmseg_bisenet.data.light import RandomBlur, RandomLight, RandomNoise, RandomShadow
from mmseg_bisenet.data.skip_unreadable import SkipUnreadableDataset
from mmseg_bisenet.data.transforms import LoadAnnotations, LoadImageFromFile

__all__ = [
    'CamVidDataset',
    'CelebAMaskHQDataset',
    'LoadAnnotations',
    'LoadImageFromFile',
    'PhotoMetricDistortion',
    'RandomBlur',
    'RandomLight',
    'RandomNoise',
    'RandomResizedCrop',
    'RandomShadow',
    'SkipUnreadableDataset',
    'convert_camvid',
    'convert_celebamask',
]
