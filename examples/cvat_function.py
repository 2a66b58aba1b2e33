"""Pre-annotate a task of CVAT: one mask for each class of an image. **Not run with a CVAT server yet.**

    pip install ".[run]" cvat-cli "cvat-sdk[masks]"
    cvat-cli --server-host HOST --auth USER task auto-annotate TASK --function-file examples/cvat_function.py \
        -p model=str:exported/NAME_fp32_360x480.onnx --allow-unmatched-labels

The task has labels of the model's class names, of type mask or any. With ``--conv-mask-to-poly`` it gets polygons.
"""

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.models as models
import numpy as np
from cvat_sdk.masks import encode_mask
from PIL import Image

from mmseg_bisenet import Predictor
from mmseg_bisenet.predict.result import Result


class Labels:
    """A detection function, as CVAT's SDK calls it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        labels = [cvataa.label_spec(name, index, type='mask') for index, name in enumerate(predictor.classes)]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list[models.LabeledShapeRequest]:
        """The shapes of an image. Class index and id of a label are the same number."""
        result = self._predictor(image)
        return self._polygons(result) if context.conv_mask_to_poly else self._masks(result)

    def _masks(self, result: Result) -> list[models.LabeledShapeRequest]:
        return [cvataa.mask(int(index), encode_mask(result.labels == index)) for index in np.unique(result.labels)]

    def _polygons(self, result: Result) -> list[models.LabeledShapeRequest]:
        """Polygons of CVAT have no holes: what lies in a hole is drawn later, above."""
        regions = [(name, rings[0]) for name, rings in result.polygons() if len(rings[0]) > 2]
        regions.sort(key=lambda region: np.prod(np.ptp(region[1], axis=0)), reverse=True)
        return [
            cvataa.polygon(result.classes.index(name), ring.ravel().tolist(), z_order=order)
            for order, (name, ring) in enumerate(regions)
        ]


def create(model: str = 'bisenetv2_camvid') -> Labels:
    """What ``cvat-cli`` calls, with the values of its ``-p``."""
    return Labels(Predictor(model))
