"""A file or a folder is replaced whole or not at all; a refusal is one line."""

import os

import pytest

from mmseg_bisenet.errors import InputError, line
from mmseg_bisenet.files import replacing, write_text


def test_text_replaces_a_file_and_makes_folders(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    write_text(path, 'first')
    write_text(path, 'Straße\r\n', overwrite=True)
    assert path.read_bytes() == 'Straße\r\n'.encode()
    assert os.listdir(path.parent) == ['a.txt']


def test_a_folder_appears_whole(tmp_path):
    with replacing(tmp_path / 'a') as partial:
        partial.mkdir()
        (partial / 'b').touch()
        assert not (tmp_path / 'a').exists()
    assert (tmp_path / 'a' / 'b').exists()
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('folder', [False, True])
def test_a_failure_leaves_the_earlier_content(tmp_path, folder):
    (tmp_path / 'a').write_text('earlier')
    with pytest.raises(KeyError), replacing(tmp_path / 'a') as partial:
        if folder:
            partial.mkdir()
            partial /= 'b'
        partial.write_text('half')
        raise KeyError
    assert (tmp_path / 'a').read_text() == 'earlier'
    assert os.listdir(tmp_path) == ['a']


def test_a_refusal_of_the_system(tmp_path):
    (tmp_path / 'a').touch()
    with pytest.raises(InputError, match=rf'^{tmp_path}/a/b cannot be written \(.*\); name another place$'):
        write_text(tmp_path / 'a' / 'b', 'text')


def test_the_line_of_an_error():
    assert line(InputError('config a is wrong; fix it')) == 'config a is wrong; fix it'
    worker = (
        'Caught InputError in DataLoader worker process 0.\nTraceback …\nmmseg_bisenet.errors.InputError: b is wrong\n'
    )
    assert line(InputError(worker)) == 'b is wrong'
