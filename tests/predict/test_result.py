"""What is made of labels."""

import json

import cv2
import numpy as np
import pytest
from predict.media import picture

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict import Result

CLASSES, PALETTE = ('sky', 'road', 'car'), [[10, 20, 30], [255, 0, 100], [0, 200, 1]]


@pytest.fixture
def result() -> Result:
    """Regions with holes, single pixels and lines."""
    labels = np.random.RandomState(0).randint(0, 3, (8, 12), np.uint8).repeat(4, 0).repeat(3, 1)
    labels[5, 7], labels[9:20, 11] = 2, 0
    return Result(picture(*labels.shape), labels, CLASSES, PALETTE)


def test_shares(result):
    assert result.share() == pytest.approx({name: (result.labels == i).mean() for i, name in enumerate(CLASSES)})
    assert sum(result.share().values()) == pytest.approx(1)


def test_pictures(result):
    colours = np.array(PALETTE)[result.labels][..., ::-1]
    np.testing.assert_array_equal(result.mask(), colours)
    assert np.abs(result.overlay() - (0.6 * colours + 0.4 * result.image)).max() <= 0.5001


def test_polygons_give_the_labels_back(result):
    drawn_again = np.full_like(result.labels, 255)
    for name, rings in result.polygons():
        region = np.zeros_like(result.labels)
        cv2.fillPoly(region, rings, 1)
        assert (drawn_again[region > 0] == 255).all()  # no pixel is in two regions
        drawn_again[region > 0] = CLASSES.index(name)
    np.testing.assert_array_equal(drawn_again, result.labels)


def test_geojson_rings_are_closed(result):
    features = json.loads(json.dumps(result.geojson()))['features']
    assert len(features) == len(result.polygons())
    for feature in features:
        assert CLASSES[feature['properties']['id']] == feature['properties']['name']
        for ring in feature['geometry']['coordinates']:
            assert len(ring) >= 4 and ring[0] == ring[-1]


def test_saved_files(result, tmp_path):
    result.save(tmp_path / 'a.png', 'labels')
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED), result.labels)
    result.save(tmp_path / 'a.png', 'mask', overwrite=True)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'a.png')), result.mask())
    result.save(tmp_path / 'b.png')
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'b.png')), result.overlay())
    result.save(tmp_path / 'c.geojson', 'geojson')
    assert json.loads((tmp_path / 'c.geojson').read_text()) == result.geojson()


@pytest.mark.parametrize(
    'name, kind, reason',
    [
        ('old.png', 'labels', r'exists already; name another, or give --overwrite \(in Python overwrite=True\)'),
        ('link.png', 'labels', 'is a symbolic link, which is not followed'),
        ('new.jpg', 'labels', 'a file of kind labels ends in .png; rename it'),
        ('new.png', 'label', "kind 'label' is not known; choose one of overlay, mask, labels, geojson"),
        ('old.png/new.png', 'labels', 'cannot be written'),
    ],
)
def test_what_is_not_saved(result, tmp_path, name, kind, reason):
    (tmp_path / 'old.png').write_text('mine')
    (tmp_path / 'link.png').symlink_to('nowhere.png')
    with pytest.raises(InputError, match=reason):
        result.save(tmp_path / name, kind)
    assert (tmp_path / 'old.png').read_text() == 'mine'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['link.png', 'old.png']


@pytest.mark.parametrize('path', [None, 7])
def test_what_is_no_path(result, path):
    with pytest.raises(InputError, match=rf'^path={path}: give a path$'):
        result.save(path)
