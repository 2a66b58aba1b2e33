"""Test-time augmentation: probabilities averaged over scales and flips, as MMSegmentation's ``SegTTAModel`` does.

Deviations from it:

- One view at a time is added up; stock keeps the full-size logits of all twelve.
- Labels are (1, H, W), as without augmentation; stock's lose a dimension that its own ``CityscapesMetric`` needs.
- Of a single foreground class the sigmoid is taken once; stock takes it twice, after which every pixel is foreground.
"""

from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference import labels, protocols
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetTTA(SegTTAModel):
    """A segmentor whose ``test_step`` takes the views of each image that mmcv's ``TestTimeAug`` makes.

    Args:
        module: the segmentor.
        data_preprocessor: of the segmentor, where it has none.

    Raises:
        InputError: the segmentor's mode has scales and flips of its own.
    """

    def __init__(self, module: dict | nn.Module, data_preprocessor: dict | None = None) -> None:
        super().__init__(module, data_preprocessor)
        mode = self.module.test_cfg['mode']
        if mode in protocols.PROTOCOLS:
            raise InputError(
                f'model.test_cfg.mode={mode} has views of its own; test without --aug-test, or set it to whole'
            )
        self.module.test_cfg['keep_logits'] = True

    def test_step(self, data: dict) -> list[SegDataSample]:
        """``data`` has lists, one item a view, of ``inputs`` and ``data_samples``, one item an image.

        Returns:
            For each image the sample of its first view, with ``pred_sem_seg`` (1, H, W).
        """
        views = len(data['inputs'])
        results, totals = [], []
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
        # Of a single class the segmentor gives probabilities already.
        return logits.softmax(0) if self.module.out_channels > 1 else logits

    def _labels(self, probabilities: Tensor) -> Tensor:
        if self.module.out_channels > 1:
            return labels.argmax(probabilities[:, None, None])
        return (probabilities > self.module.decode_head.threshold).to(probabilities)
