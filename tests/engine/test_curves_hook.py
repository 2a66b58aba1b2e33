import json
import shutil
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch

from mmseg_bisenet.engine.curves_hook import draw_curves, smoothed


def drawn_values(work_dir: Path) -> dict[str, np.ndarray]:
    """The values that the picture of the last checkpoint shows."""
    hub = torch.load(work_dir / 'iter_5.pth', weights_only=False)['message_hub']
    return dict(
        losses=hub['log_scalars']['train/loss'].data[0],
        rates=hub['log_scalars']['train/lr'].data[0],
        points=hub['runtime_info']['evaluations'],
    )


def test_the_picture_is_of_the_whole_run_also_after_resume(train, trained, tmp_path):
    whole = drawn_values(trained)
    logged = [json.loads(line) for path in trained.glob('*/vis_data/scalars.json') for line in path.open()]
    evaluations = [[line['step'], line['mIoU']] for line in logged if 'mIoU' in line]
    assert [step for step, _ in evaluations] == [2, 4, 5]
    assert whole['points'] == evaluations
    # The log has the mean of the last ten iterations.
    means = [whole['losses'][: i + 1].mean() for i in range(5)]
    assert means == [line['loss'] for line in logged if 'loss' in line]
    picture = cv2.imread(str(trained / 'curves.png'))[..., ::-1]
    np.testing.assert_array_equal(picture, draw_curves(5, **(whole | dict(points=evaluations))))
    (sent,) = trained.glob('*/vis_data/vis_image/curves.png_5.png')
    np.testing.assert_array_equal(cv2.imread(str(sent))[..., ::-1], picture)

    shutil.copy(trained / 'iter_3.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_3.pth'))
    train(tmp_path, options=('--resume',))
    resumed = drawn_values(tmp_path)
    assert len(resumed['losses']) == len(resumed['rates']) == 5
    np.testing.assert_array_equal(resumed['losses'], whole['losses'])
    assert resumed['points'] == whole['points']


def test_smoothed():
    values = np.random.default_rng(0).normal(size=20)
    expected = [values[max(0, i - 3) : i + 4].mean() for i in range(20)]
    np.testing.assert_allclose(smoothed(values, 3), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(smoothed(values, 0), values, rtol=1e-12, atol=1e-12)


def test_draws_what_there_is():
    """Without evaluations there is one panel less. NaN and infinity leave a gap. pyplot keeps no figure."""
    losses, rates = np.array([3, np.inf, np.nan, 2, 1]), np.full(5, 0.1)
    both = draw_curves(5, losses, rates, [])
    all_three = draw_curves(5, losses, rates, [[5, 50.0]])
    assert all_three.shape[0] - both.shape[0] == 2 * 120  # inches at 120 dots
    assert both.shape[1] == all_three.shape[1] == 9 * 120
    np.testing.assert_array_equal(both, draw_curves(5, np.array([3, np.nan, np.nan, 2, 1]), rates, []))
    assert not plt.get_fignums()
