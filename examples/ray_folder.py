"""Label a folder of images on a cluster with Ray Data, from a thousand images to millions.

    pip install ".[run]" "ray[data]"    # about 500 MB, on every machine of the cluster
    python examples/ray_folder.py frames labelled --model exported/NAME_fp32_360x480.onnx --workers 2

All machines see both folders (a shared file system), and the model is a file there. With ``RAY_ADDRESS`` the work runs
on that cluster, otherwise on this machine. ``labelled/a/b.jpg.png`` has the class indices of ``frames/a/b.jpg``, of the
image's size. Workers read the images themselves: Ray's own readers need more cores, and wait forever
if the workers have all.

Each file is written to a temporary name and renamed, and images that have labels are left out. So a run that was
stopped goes on where it was, and images of a worker that died are labelled by another.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray

from mmseg_bisenet import Predictor
from mmseg_bisenet.errors import InputError, line
from mmseg_bisenet.files import remove_leftovers, replacing, require_outside, require_writable
from mmseg_bisenet.predict.sources import find_sources

BATCH = 8  # images: what a worker that dies loses


class Labeller:
    """A worker: image files -> files of labels."""

    def __init__(self, model: str) -> None:
        self._predictor = Predictor(model)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Paths: ``image`` and ``labels`` -> ``problem``, '' if the labels are written."""
        files = zip(batch['image'], batch['labels'], strict=True)
        return dict(problem=np.array([self._label(*paths) for paths in files], object))

    def _label(self, image: str, labels: str) -> str:
        try:
            content = self._predictor(image).encoded('labels', '.png')
            with replacing(labels, overwrite=True) as partial:
                partial.write_bytes(content)
        except InputError as error:  # one broken image does not end the work
            return line(error)
        return ''


def label_folder(folder: Path, output: Path, model: str, workers: int) -> tuple[int, list[str]]:
    """Label what has no labels yet; the number of new files, and the problems.

    Raises:
        InputError: there is no image, or the folder cannot be written.
    """
    folder, output = folder.resolve(), output.resolve()  # workers may have another current folder
    model = str(Path(model).resolve()) if Path(model).is_file() else model
    require_writable('OUTPUT', output)
    require_outside(folder, output, 'name another OUTPUT')
    images = [source.path for source in find_sources([folder], output) if source.path and not source.moving]
    labels = {image: output / f'{image.relative_to(folder)}.png' for image in images}
    todo = [dict(image=str(image), labels=str(path)) for image, path in labels.items() if not path.exists()]
    print(f'{len(images)} images, {len(images) - len(todo)} of them have labels', flush=True)
    if not todo:
        return 0, []
    labelled = ray.data.from_items(todo).map_batches(
        Labeller,
        fn_constructor_args=(model,),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    problems = [row['problem'] for row in labelled.iter_rows()]
    for parent in {path.parent for path in labels.values()}:
        remove_leftovers(parent, '*')  # of workers that died
    return problems.count(''), [*filter(None, problems)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('source', type=Path, help='folder of images')
    parser.add_argument('output', type=Path, help='folder for the labels')
    parser.add_argument('--model', default='bisenetv2_camvid', help='name of a model, or exported file')
    parser.add_argument('--workers', type=int, default=2, help='processes of one core each (default: %(default)s)')
    args = parser.parse_args(argv)
    try:
        if args.workers < 1:
            raise InputError(f'--workers {args.workers}: give 1 or more')
        Predictor(args.model)  # what is wrong with it, a worker would say a hundred times
        count, problems = label_folder(args.source, args.output, args.model, args.workers)
    except InputError as error:
        print(f'ray_folder: error: {line(error)}', file=sys.stderr)
        return 2
    print('\n'.join([*problems, f'{count} images labelled, {len(problems)} refused']))
    return int(bool(problems))


if __name__ == '__main__':
    sys.exit(main())
