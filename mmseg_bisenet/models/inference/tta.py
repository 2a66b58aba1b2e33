"""Test-time augmentation: probabilities averaged over scales and flips, as in MMSegmentation's ``SegTTAModel``.

Deviations:

- Views are added up one at a time. Stock keeps the full-size logits of all twelve.
- Labels are (1, H, W), as without augmentation. Stock loses a dimension that its own ``CityscapesMetric`` needs.
- For a single foreground class, the sigmoid is applied once. Stock applies it twice, so every pixel is foreground.
"""

from typing import Any

from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference import labels, protocols
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetTTA(SegTTAModel):
    """A segmentor whose ``test_step`` averages over the views from mmcv's ``TestTimeAug``.

    Args:
        module: the segmentor.
        data_preprocessor: for a segmentor without one.

    Raises:
        InputError: the segmentor's ``test_cfg.mode`` is a protocol with its own views.
    """

    def __init__(self, module: dict | nn.Module, data_preprocessor: dict | None = None) -> None:
        # MMEngine passes the config's own `data_preprocessor`, and the stock class lets it replace the segmentor's.
        given = isinstance(module, dict) and module.get('data_preprocessor')
        super().__init__(module, None if given else data_preprocessor)
        self._prepare()

    def _prepare(self) -> None:
        """Let the segmentor keep the logits. Again before each prediction, because ``module`` may be replaced."""
        mode = self.module.test_cfg['mode']
        if mode in protocols.PROTOCOLS:
            raise InputError(
                f'model.test_cfg.mode={mode} has its own views; test without --aug-test, or set it to whole'
            )
        self.module.test_cfg['keep_logits'] = True

    def test_step(self, data: dict) -> list[SegDataSample]:
        """``data``: ``inputs`` and ``data_samples``, each a list over views of lists over images.

        Returns:
            The first view's sample of each image, with ``pred_sem_seg`` (1, H, W).
        """
        self._prepare()
        views = len(data['inputs'])
        results: list[SegDataSample] = []
        totals: list[Any] = []
        for view in range(views):
            samples = self.module.test_step({key: value[view] for key, value in data.items()})
            results = results or samples
            totals = totals or [0] * len(samples)
            for image, sample in enumerate(samples):
                totals[image] = self._probabilities(sample.seg_logits.data).add_(totals[image])
                del sample.seg_logits
        for sample, total in zip(results, totals, strict=True):
            sample.pred_sem_seg = PixelData(data=self._labels(total.div_(views)))
        return results

    def _probabilities(self, logits: Tensor) -> Tensor:
        # For a single class, the segmentor already gives probabilities.
        return logits.softmax(0) if self.module.out_channels > 1 else logits

    def _labels(self, probabilities: Tensor) -> Tensor:
        if self.module.out_channels > 1:
            return labels.argmax(probabilities[:, None, None])
        return (probabilities > self.module.decode_head.threshold).to(probabilities)
