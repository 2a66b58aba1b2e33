"""Each image of a data set keeps its picture, also if several have one name."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.visualization import Visualizer
from mmseg.structures import SegDataSample

from mmseg_bisenet.engine.named_pictures import NamedVisualizationHook, PictureNames


def test_names():
    names = PictureNames()
    paths = ['/d/a/x.png', '/d/b/x.png', '/e/b/x.png', '/d/a/b_x.png', '/d/a/y.png', '/x.png', '/d/b/x.png', '/b/x.png']
    assert [names.name(path, path.rpartition('/')[2]) for path in paths] == [
        'x.png', 'b_x.png', 'e_b_x.png', 'a_b_x.png', 'y.png', '_x.png', 'b_x.png', '_b_x.png'
    ]  # fmt: skip
    assert names.name('/d/a/x.jpg', 'x.png') == 'a_x.png'
    assert names.name('/d/a/x.png', 'x.png') == 'x.png'


@pytest.mark.parametrize('kind', ['val', 'test'])
def test_pictures_of_the_stock_hook(tmp_path, monkeypatch, kind):
    drawn = []
    monkeypatch.setattr(
        Visualizer,
        'get_current_instance',
        lambda: SimpleNamespace(add_datasample=lambda name, image, sample, **rest: drawn.append((name, image.mean()))),
    )
    hook = NamedVisualizationHook(draw=True, interval=1)
    samples = []
    for number, folder in enumerate('abc'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / 'x.png'), np.full((4, 4, 3), number, np.uint8))
        samples.append(SegDataSample(metainfo=dict(img_path=str(tmp_path / folder / 'x.png'))))
    for index, sample in enumerate(samples):
        getattr(hook, f'after_{kind}_iter')(SimpleNamespace(iter=0), index, None, [sample])
    assert drawn == [(f'{kind}_x.png', 0), (f'{kind}_b_x.png', 1), (f'{kind}_c_x.png', 2)]
