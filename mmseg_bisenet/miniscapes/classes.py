"""The ten Cityscapes classes that miniscapes draws, with their official ids and colours."""

import numpy as np

# name: (labelId, trainId, RGB), copied from cityscapesscripts.helpers.labels
TABLE = {
    'void': (0, 255, (0, 0, 0)),
    'road': (7, 0, (128, 64, 128)),
    'sidewalk': (8, 1, (244, 35, 232)),
    'building': (11, 2, (70, 70, 70)),
    'pole': (17, 5, (153, 153, 153)),
    'traffic sign': (20, 7, (220, 220, 0)),
    'vegetation': (21, 8, (107, 142, 35)),
    'sky': (23, 10, (70, 130, 180)),
    'person': (24, 11, (220, 20, 60)),
    'car': (26, 13, (0, 0, 142)),
    'bicycle': (33, 18, (119, 11, 32)),
}
CLASSES = tuple(name for name in TABLE if name != 'void')

VOID, ROAD, SIDEWALK, BUILDING, POLE, SIGN, VEGETATION, SKY, PERSON, CAR, BICYCLE = (row[0] for row in TABLE.values())


def train_ids(labels: np.ndarray) -> np.ndarray:
    """labelIds (H, W) uint8 -> trainIds (H, W) uint8, 255 for classes that are not trained on."""
    table = np.full(256, 255, np.uint8)
    for label, train, _ in TABLE.values():
        table[label] = train
    return table[labels]


def colours(labels: np.ndarray) -> np.ndarray:
    """labelIds (H, W) uint8 -> the official colours (H, W, 3) uint8 RGB."""
    table = np.zeros((256, 3), np.uint8)
    for label, _, rgb in TABLE.values():
        table[label] = rgb
    return table[labels]
