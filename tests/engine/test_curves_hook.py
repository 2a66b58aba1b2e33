import json

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch

from mmseg_bisenet.cli import main
from mmseg_bisenet.engine.curves_hook import draw_curves, smoothed

OPTIONS = [
    'model.data_preprocessor.size=(64,64)',
    'train_dataloader.dataset.pipeline.2.scale=(128,64)',
    'train_dataloader.dataset.pipeline.2.crop_size=(64,64)',
    'val_dataloader.dataset.pipeline.1.scale=(128,64)',
    'train_dataloader.batch_size=2',
    *(f'{name}_dataloader.{key}' for name in ('train', 'val') for key in ('num_workers=0', 'persistent_workers=False')),
    'train_cfg.max_iters=5',
    'train_cfg.val_interval=2',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=3',
]


def train(work_dir, *options: str) -> dict[str, np.ndarray]:
    """Five iterations; the values that the picture shows."""
    # MMEngine keeps visualizers by name for as long as the process lives.
    name = f'visualizer.name={work_dir}{"".join(options)}'
    config = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
    assert main(['train', config, '--work-dir', str(work_dir), *options, '--cfg-options', *OPTIONS, name]) == 0
    hub = torch.load(work_dir / 'iter_5.pth', weights_only=False)['message_hub']
    return dict(
        losses=hub['log_scalars']['train/loss'].data[0],
        rates=hub['log_scalars']['train/lr'].data[0],
        points=hub['runtime_info']['evaluations'],
    )


def test_the_picture_is_of_the_whole_run_also_after_resume(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    whole = train(tmp_path)
    logged = [json.loads(line) for path in tmp_path.glob('*/vis_data/scalars.json') for line in path.open()]
    evaluations = [[line['step'], line['mIoU']] for line in logged if 'mIoU' in line]
    assert [step for step, _ in evaluations] == [2, 4, 5]
    assert whole['points'] == evaluations
    # The log shows the mean of the last ten.
    means = [whole['losses'][: i + 1].mean() for i in range(5)]
    assert means == [line['loss'] for line in logged if 'loss' in line]
    picture = cv2.imread(str(tmp_path / 'curves.png'))[..., ::-1]
    np.testing.assert_array_equal(picture, draw_curves(5, **(whole | dict(points=evaluations))))
    (sent,) = tmp_path.glob('*/vis_data/vis_image/curves.png_5.png')
    np.testing.assert_array_equal(cv2.imread(str(sent))[..., ::-1], picture)

    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_3.pth'))
    resumed = train(tmp_path, '--resume')
    assert len(resumed['losses']) == len(resumed['rates']) == 5
    np.testing.assert_array_equal(resumed['losses'], whole['losses'])
    assert resumed['points'] == whole['points']


def test_smoothed():
    values = np.random.default_rng(0).normal(size=20)
    expected = [values[max(0, i - 3) : i + 4].mean() for i in range(20)]
    np.testing.assert_allclose(smoothed(values, 3), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(smoothed(values, 0), values, rtol=1e-12, atol=1e-12)


def test_draws_what_there_is():
    """Without evaluations one panel is less; a loss that is no number leaves a gap; pyplot knows nothing of it."""
    losses, rates = np.array([3, np.inf, np.nan, 2, 1]), np.full(5, 0.1)
    both = draw_curves(5, losses, rates, [])
    all_three = draw_curves(5, losses, rates, [[5, 50.0]])
    assert all_three.shape[0] - both.shape[0] == 2 * 120  # inches at 120 dots
    assert both.shape[1] == all_three.shape[1] == 9 * 120
    np.testing.assert_array_equal(both, draw_curves(5, np.array([3, np.nan, np.nan, 2, 1]), rates, []))
    assert not plt.get_fignums()
