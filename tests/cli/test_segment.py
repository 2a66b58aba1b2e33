"""`segment` never overwrites its input images."""

import os
import shutil

import cv2
import numpy as np
import pytest

from mmseg_bisenet.cli import main

REFUSAL = 'is an input of this command, and would be overwritten; name another folder with --output'


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The error must come before anything is loaded.
    monkeypatch.setattr('mmseg_bisenet.zoo.get_model', lambda *_: pytest.fail('the network was loaded'))
    cv2.imwrite('street.jpg', np.random.RandomState(0).randint(0, 256, (96, 160, 3), dtype=np.uint8))
    return tmp_path / 'street.jpg'


@pytest.mark.parametrize('output', ['.', '{}', 'link'])
def test_a_photo_in_the_output_folder_stays(photo, capsys, output):
    before = photo.read_bytes()
    os.symlink('.', 'link')
    assert main(['segment', 'street.jpg', '--output', output.format(photo.parent)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f'street.jpg {REFUSAL}')
    assert photo.read_bytes() == before
    assert sorted(os.listdir()) == ['link', 'street.jpg']


def test_labels_do_not_replace_another_image(photo, capsys):
    shutil.copy('street.jpg', 'other_labels.png')
    arguments = ['segment', 'none/other.png', 'other_labels.png', '--output', '.']
    assert main(arguments) == 2
    assert f'other_labels.png {REFUSAL}' in capsys.readouterr().err
