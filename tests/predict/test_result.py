"""What is made of labels."""

import json
from dataclasses import replace
from pathlib import Path

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


@pytest.mark.parametrize(
    'fields, reason',
    [
        (dict(classes=('sky', 'sky', 'car')), "it names the class 'sky' more than once"),
        (dict(classes=('sky', 'a\nb', 'car')), r"it names a class 'a\\nb', which is blank or has control characters"),
        (
            dict(palette=[[127.9, 0.5, 0.5]] * 3),
            r'it has a palette that is no list of \(red, green, blue\) from 0 to 255',
        ),
        (dict(palette=[[0, 0, 300]] * 3), 'it has a palette that is no list of'),
        (dict(palette=[[0, 0, -1]] * 3), 'it has a palette that is no list of'),
        (dict(palette=PALETTE[:2]), 'palette=.*: give three numbers for each class'),
        (dict(time='x'), "time='x': give seconds, or None"),
        (dict(time=float('nan')), 'time=nan: give seconds, or None'),
        (dict(times=dict(decode='x')), 'times=.*: give milliseconds by stage'),
    ],
)
def test_fields_that_cannot_be(result, fields, reason):
    with pytest.raises(InputError, match=reason):
        replace(result, **fields)


@pytest.mark.parametrize(
    'labels, reason',
    [
        (np.full((8, 12), 3, np.uint8), '^labels have class 3, and there are 3; name them all'),
        (np.zeros((8, 11), np.uint8), r'^labels=uint8 \(8, 11\): give an array \(H, W\) of uint8, of the size of'),
        (np.zeros((8, 12)), r'^labels=float64 \(8, 12\): give'),
    ],
)
def test_labels_that_were_edited(result, tmp_path, labels, reason):
    result = replace(result, image=np.zeros((8, 12, 3), np.uint8), labels=np.zeros((8, 12), np.uint8))
    result.labels = labels
    for method in (result.share, result.mask, result.overlay, result.polygons, result.geojson):
        with pytest.raises(InputError, match=reason):
            method()
    for kind, suffix in dict(overlay='jpg', mask='png', labels='png', geojson='geojson').items():
        with pytest.raises(InputError, match=reason):
            result.save(tmp_path / f'a.{suffix}', kind)
    assert not list(tmp_path.iterdir())


def test_its_image_stays_whatever_the_current_folder_is(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'street.png').write_text('mine')
    result = replace(result, path=Path('street.png'))
    monkeypatch.chdir('/')
    with pytest.raises(InputError, match=r'street\.png is an input of this command, and would be overwritten'):
        result.save(tmp_path / 'street.png', overwrite=True)
    assert (tmp_path / 'street.png').read_text() == 'mine'
