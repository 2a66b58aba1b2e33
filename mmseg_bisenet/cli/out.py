"""``--out DIR`` of ``test``, and tests without ground truth (``test_evaluator.format_only=True``)."""

import argparse

from mmengine.config import Config

from mmseg_bisenet.config.rules import metrics
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_output

WRITERS = ('mmseg_bisenet.SegmentationMetric', 'IoUMetric', 'CityscapesMetric')  # those with `output_dir`


def apply_out(cfg: Config, args: argparse.Namespace) -> None:
    """Let the test's metric write predictions. If it needs no ground truth, let nothing look for labels.

    Raises:
        InputError: the folder exists, the config names one too, or no metric of the config writes predictions.
    """
    evaluators = metrics(cfg, 'test_evaluator')
    if args.out:
        check_output(args.out, folder=True, fix='name a new folder with --out')
        writers = [evaluator for kind in WRITERS for evaluator in evaluators if evaluator.type == kind]
        if not writers:
            raise InputError(f'--out: no metric of the config writes predictions; set test_evaluator.type={WRITERS[0]}')
        if other := writers[0].get('output_dir'):
            raise InputError(f'--out {args.out} and test_evaluator.output_dir={other} are two folders; leave one out')
        writers[0].update(output_dir=args.out, keep_results=True)
    if any(evaluator.get('format_only') for evaluator in evaluators):
        cfg.test_dataloader = without_labels(cfg.test_dataloader)
        cfg.tta_pipeline = without_labels(cfg.get('tta_pipeline', []))


def without_labels(node: object) -> object:
    """A data loader or a pipeline without the steps that look for labels, those inside ``TestTimeAug`` included."""
    if isinstance(node, dict):
        return {key: without_labels(item) for key, item in node.items() if key != 'seg_map_path'}
    if not isinstance(node, list):
        return node
    items = [
        item for item in node if not (isinstance(item, dict) and str(item.get('type')).endswith('LoadAnnotations'))
    ]
    # `TestTimeAug` takes each combination of one step from every list: with an empty list there is none.
    return [item for item in map(without_labels, items) if item != []]
