"""What the steps of a pipeline do to images and labels, and whether scores and losses allow for it.

An evaluation compares labels as their files have them with predictions of the size of the image's file, which are
flipped back. Nothing else is undone. A training needs labels that move with their image.

Only steps of MMCV, MMSegmentation and this package are judged. What a user's own class does is not known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope

from mmseg_bisenet.config.errors import dicts, typed
from mmseg_bisenet.config.rules import class_of, metrics, name_of, scores
from mmseg_bisenet.errors import InputError

PACKAGES = 'mmengine', 'mmcv', 'mmseg', 'mmseg_bisenet'
RESIZES = {'Resize', 'ResizeToMultiple', 'ResizeShortestEdge'}
MOVES = {
    *('RandomFlip', 'RandomCrop', 'RandomResize', 'RandomChoiceResize', 'RandomResizedCrop', 'RandomRotate'),
    *('RandomRotFlip', 'RandomMosaic', 'RandomDepthMix', 'CenterCrop', 'Pad', 'Albu'),
}


class Step(NamedTuple):
    path: str
    name: str  # of the class; empty for a user's
    node: Mapping[str, Any]

    def __str__(self) -> str:
        return f'config: {self.path} ({self.name})'

    @property
    def loads_labels(self) -> bool:
        return self.name.startswith('Load') and 'Annotation' in self.name

    @property
    def loads_images(self) -> bool:
        return self.name == 'InferencerLoader' or (self.name.startswith('Load') and not self.loads_labels)

    @property
    def moves(self) -> bool:
        """Whether it moves pixels to other places."""
        return bool(self.node.get('prob')) if self.name == 'RandomFlip' else self.name in MOVES


def check(cfg: Config) -> None:
    """Check the pipelines of the dataloaders, and that of ``--aug-test``.

    Raises:
        InputError: a step changes an evaluation's images and no one undoes it, or moves the image and not its labels;
            a step is missing; a probability is impossible; or images are normalised twice.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        for key in ('train', 'val', 'test'):
            top = f'{key}_dataloader'
            for path, dataset in dicts(f'{top}.dataset', (cfg.get(top) or {}).get('dataset')):
                if not isinstance(dataset.get('pipeline'), list | tuple):
                    continue
                steps = _steps(f'{path}.pipeline', dataset['pipeline'])
                _check_values(steps, cfg)
                # Wrappers have the samples of others, and a user's data set may load images itself.
                own = not {'dataset', 'datasets'} & dataset.keys() and _known(dataset, DATASETS)
                if key == 'train':
                    _check_training(steps)
                    if own:
                        _require_packed(f'{path}.pipeline', steps)
                    continue
                _check_evaluation(steps)
                if own:
                    _check_complete(f'{path}.pipeline', steps, cfg, f'{key}_evaluator')
        if views := cfg.get('tta_pipeline'):
            steps = _steps('tta_pipeline', views)
            _check_values(steps, cfg)
            _check_evaluation(steps)
            _check_complete('tta_pipeline', steps, cfg, 'test_evaluator')
            _check_views(steps)


def _steps(path: str, pipeline: Sequence) -> list[Step]:
    """All steps in their order, with those inside others, such as the views of ``TestTimeAug``."""
    return [Step(at, _known(node, TRANSFORMS), node) for at, node in typed(path, pipeline)]


def _known(node: Mapping[str, Any], registry: Any) -> str:
    found = class_of(node, registry)
    return found.__name__ if found and found.__module__.partition('.')[0] in PACKAGES else ''


def _check_values(steps: Iterable[Step], cfg: Config) -> None:
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or {}
    for step in steps:
        prob = step.node.get('prob')
        shares = list(prob) if isinstance(prob, list | tuple) else [0 if prob is None else prob]
        numbers = all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares)
        if step.name and not (numbers and sum(shares) <= 1 + 1e-6):
            raise InputError(
                f'{step}: prob is {prob!r}; give a number from 0 to 1, or a list of them whose sum is at most 1'
            )
        if step.name == 'Normalize':
            if preprocessor.get('mean') is not None:
                raise InputError(f'{step}: model.data_preprocessor normalises images too; remove one of them')
            if step.node.get('to_rgb', True) and preprocessor.get('bgr_to_rgb'):
                raise InputError(
                    f'{step} and model.data_preprocessor.bgr_to_rgb both swap red and blue; set to_rgb=False'
                )


def _check_training(steps: Sequence[Step]) -> None:
    last = max((number for number, step in enumerate(steps) if step.loads_labels), default=0)
    for step in steps[:last]:
        if step.moves or step.name in RESIZES:
            raise InputError(
                f'{step} changes the image before its labels are loaded, and they would not fit; put '
                f'{steps[last].name} before it'
            )


def _check_evaluation(steps: Sequence[Step]) -> None:
    """Refuse what no one undoes. A resized image is right: its prediction gets the size of the file."""
    labels = next((number for number, step in enumerate(steps) if step.loads_labels), len(steps))
    for number, step in enumerate(steps):
        always = step.name == 'RandomFlip' and step.node.get('prob') == 1
        if step.name == 'RandomFlip' and not step.moves:
            continue
        if always and number > labels:
            raise InputError(
                f'{step} flips labels, and predictions are flipped back before they are compared; put '
                f'{steps[labels].name} after it'
            )
        if always:
            _check_flip(step, steps)
        elif step.moves or 'Random' in step.name or step.name == 'PhotoMetricDistortion':
            raise InputError(
                f'{step} moves pixels or changes them at random, which no score allows for; remove it from the '
                'evaluation'
            )


def _check_flip(flip: Step, steps: Sequence[Step]) -> None:
    if 'diagonal' in (flip.node.get('direction') or ()):
        raise InputError(f'{flip}: predictions are not flipped back diagonally; give horizontal or vertical')
    for step in steps:
        kept = step.node.get('meta_keys')
        if step.name == 'PackSegInputs' and kept is not None and not {'flip', 'flip_direction'} <= {*kept}:
            raise InputError(
                f'{step}: meta_keys needs flip and flip_direction, without which predictions are not flipped back'
            )


def _check_complete(path: str, steps: Sequence[Step], cfg: Config, evaluator: str) -> None:
    found = metrics(cfg, evaluator)
    for step in steps:
        kept = step.node.get('meta_keys')
        if step.name == 'PackSegInputs' and kept is not None and 'img_path' not in kept:
            if any(name_of(metric) == 'SegmentationMetric' for metric in found):
                raise InputError(f'{step}: meta_keys needs img_path, by which scores name their images')
    if not all(step.name for step in steps):
        return  # a user's step may do it
    _require_packed(path, steps)
    if not any(step.loads_images for step in steps):
        raise InputError(f'config: {path} loads no image; add LoadImageFromFile as its first step')
    if not any(step.loads_labels for step in steps) and any(map(scores, found)):
        raise InputError(f'config: {path} loads no labels, which {evaluator} needs; add LoadAnnotations')


def _require_packed(path: str, steps: Sequence[Step]) -> None:
    if all(step.name and step.name != 'PackSegInputs' for step in steps):  # a user's step may do it
        raise InputError(f'config: {path} has no PackSegInputs; add it as the last step')


def _check_views(steps: Sequence[Step]) -> None:
    """Refuse a pipeline of ``--aug-test`` without views, or with views of views."""
    views = [step for step in steps if step.name == 'TestTimeAug']
    if len(views) > 1:
        raise InputError(f'{views[1]} is the second one; put all views in {views[0].path}')
    if not views and all(step.name for step in steps):
        raise InputError('config: tta_pipeline has no TestTimeAug, which gives the views; add one')
