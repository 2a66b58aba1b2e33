"""A file or a folder is replaced whole or not at all; a refusal is one line."""

import errno
import os

import pytest
from full_disk import largest_file

from mmseg_bisenet.errors import InputError, line
from mmseg_bisenet.files import (
    check_input,
    check_output,
    identities,
    move_all,
    replacing,
    require_outside,
    require_writable,
    scratch,
    write_text,
)
from mmseg_bisenet.own_results import replacing_own, require_own


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


def test_a_file_and_its_parts_move_together(tmp_path, monkeypatch):
    target, names = tmp_path / 'a.xml', ('a.xml', 'a.bin')

    def texts() -> list[str]:
        return [(tmp_path / name).read_text() for name in names]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    for name in names:
        (tmp_path / name).write_text('earlier')
    moved, replace = [], os.replace
    with scratch(target) as folder:
        for name in names:
            (folder / name).write_text('new')
        with pytest.raises(InputError, match='exists already'):
            move_all(folder, target, overwrite=False)
        with monkeypatch.context() as patch, pytest.raises(OSError, match='No space left'):
            patch.setattr(os, 'fsync', full)
            move_all(folder, target, overwrite=True)
        assert texts() == ['earlier', 'earlier']
        monkeypatch.setattr(os, 'replace', lambda source, place: (moved.append(place.name), replace(source, place)))
        move_all(folder, target, overwrite=True)
    assert texts() == ['new', 'new'] and moved == ['a.bin', 'a.xml']


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


# -- what stays --------------------------------------------------------------------------------------------------------


def test_a_file_stays_unless_told(tmp_path):
    (tmp_path / 'a').write_text('mine')
    with pytest.raises(InputError, match=rf'^{tmp_path}/a exists already; name another, or give --overwrite \(in'):
        write_text(tmp_path / 'a', 'ours')
    assert (tmp_path / 'a').read_text() == 'mine' and os.listdir(tmp_path) == ['a']
    write_text(tmp_path / 'a', 'ours', overwrite=True)
    assert (tmp_path / 'a').read_text() == 'ours'


@pytest.mark.parametrize('linkable', [True, False], ids=['hard links', 'no hard links'])
def test_a_file_that_appears_meanwhile_stays(tmp_path, monkeypatch, linkable):
    def refuse(*_):
        raise PermissionError

    if not linkable:
        monkeypatch.setattr(os, 'link', refuse)
    with pytest.raises(InputError, match='a exists already'), replacing(tmp_path / 'a') as partial:
        partial.write_text('ours')
        (tmp_path / 'a').write_text('mine')
    assert (tmp_path / 'a').read_text() == 'mine' and os.listdir(tmp_path) == ['a']
    write_text(tmp_path / 'b', 'ours')
    assert (tmp_path / 'b').read_text() == 'ours' and sorted(os.listdir(tmp_path)) == ['a', 'b']


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('target', ['there', 'nowhere', 'link'], ids=['a file', 'nothing', 'a loop'])
def test_links_are_not_followed(tmp_path, overwrite, target):
    (tmp_path / 'there').write_text('mine')
    (tmp_path / 'link').symlink_to(target)
    with pytest.raises(InputError, match=r'link is a symbolic link, which is not followed; name another$'):
        write_text(tmp_path / 'link', 'ours', overwrite)
    with pytest.raises(InputError, match='link is a symbolic link'):
        check_output(tmp_path / 'link', overwrite, folder=True)
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'there').read_text() == 'mine'
    assert sorted(os.listdir(tmp_path)) == ['link', 'there']


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_pipe_stays(tmp_path, overwrite):
    os.mkfifo(tmp_path / 'a')
    with pytest.raises(InputError, match=r'a is a pipe or a device; name another$'):
        write_text(tmp_path / 'a', 'ours', overwrite)
    assert (tmp_path / 'a').is_fifo() and os.listdir(tmp_path) == ['a']
    with pytest.raises(InputError, match=r'^/dev/null is a pipe or a device; name another$'):
        check_output('/dev/null', overwrite)


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_stays(tmp_path, overwrite):
    (tmp_path / 'a').mkdir()
    with pytest.raises(InputError, match='a is a folder; name another'):
        write_text(tmp_path / 'a', 'ours', overwrite)
    check_output(tmp_path / 'a', folder=True)
    (tmp_path / 'a' / 'mine').touch()
    with pytest.raises(InputError, match='a exists already; name another, or remove it'):
        with replacing(tmp_path / 'a', overwrite) as partial:
            partial.mkdir()
    assert os.listdir(tmp_path / 'a') == ['mine'] and os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('overwrite', [False, True])
def test_an_input_stays(tmp_path, overwrite):
    (tmp_path / 'a').write_text('mine')
    os.link(tmp_path / 'a', tmp_path / 'b')
    (tmp_path / 'c').write_text('mine')
    inputs = identities([tmp_path / 'a', tmp_path / 'nowhere', '\0'])
    assert len(inputs) == 1
    for name in ('a', 'b'):
        with pytest.raises(InputError, match=f'{name} is an input of this command, and would be overwritten; name ano'):
            check_output(tmp_path / name, overwrite, inputs=inputs)
    check_output(tmp_path / 'c', True, inputs=inputs)


def test_a_place_in_a_folder_of_results(tmp_path):
    (tmp_path / 'link').symlink_to('results')
    for name in ('results', 'results/a/b', 'link/a', 'new/../results/a'):
        with pytest.raises(InputError, match=f'{name} lies in {tmp_path}/results, which is written as a whole; name'):
            require_outside(tmp_path / name, tmp_path / 'results')
    for name in ('', 'results2', 'other/results'):
        require_outside(tmp_path / name, tmp_path / 'results')


def test_pipes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / 'a')
    (tmp_path / 'b').touch()
    for path in (tmp_path / 'a', '/dev/zero'):
        with pytest.raises(InputError, match=f'^{path} is a pipe or a device; save what it gives to a file$'):
            check_input(path)
    for path in (tmp_path / 'b', tmp_path, tmp_path / 'nowhere', tmp_path / ('x' * 300)):
        check_input(path)


@pytest.mark.parametrize('name', ['a' * 251 + '.txt', 'ü' * 127, '.' + 'a' * 254])
def test_the_longest_names(tmp_path, name):
    write_text(tmp_path / name, 'first')
    write_text(tmp_path / name, 'second', overwrite=True)
    assert (tmp_path / name).read_text() == 'second' and os.listdir(tmp_path) == [name]
    (tmp_path / name).unlink()
    for text in ('first', 'second'):
        own(tmp_path / name, text)
    assert (tmp_path / name / 'samples/a').read_text() == 'second' and os.listdir(tmp_path) == [name]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(InputError, match=r'a cannot be written \(File name too long\); name another$'):
        check_output(tmp_path / ('a' * 256))
    with pytest.raises(InputError, match=r'cannot be written \(embedded null'):
        check_output('a\0b')


def own(folder, text: str) -> None:
    with replacing_own(folder) as partial:
        (partial / 'samples').mkdir(parents=True)
        (partial / 'samples' / 'a').write_text(text)


def test_a_folder_of_ours_is_replaced(tmp_path):
    own(tmp_path / 'ours', 'first')
    own(tmp_path / 'ours', 'second')
    assert (tmp_path / 'ours/samples/a').read_text() == 'second' and os.listdir(tmp_path) == ['ours']


def test_what_a_user_put_into_a_folder_of_ours_stays(tmp_path):
    folder = tmp_path / 'ours'
    own(folder, 'first')
    for name, content in (('notes.txt', 'mine'), ('samples/a', 'edited')):
        before = (folder / name).read_text() if (folder / name).exists() else None
        (folder / name).write_text(content)
        for refuse in (require_own, lambda folder: own(folder, 'second')):
            with pytest.raises(InputError, match=rf'^{folder}/{name} is not as this command wrote it, and .* move it'):
                refuse(folder)
        assert (folder / name).read_text() == content and os.listdir(tmp_path) == ['ours']
        (folder / name).unlink() if before is None else (folder / name).write_text(before)
    (folder / 'link').symlink_to('samples/a')
    with pytest.raises(InputError, match='ours/link is not as this command wrote it'):
        require_own(folder)


def test_a_folder_of_a_user_is_not_ours(tmp_path):
    (tmp_path / 'there').mkdir()
    require_own(tmp_path / 'there')
    (tmp_path / 'there/scores.json').write_text('{}')
    with pytest.raises(InputError, match=r'there/scores\.json is not as this command wrote it'):
        require_own(tmp_path / 'there')
    (tmp_path / 'link').symlink_to('there')
    with pytest.raises(InputError, match='link is a symbolic link'):
        require_own(tmp_path / 'link')


# -- what the system refuses -------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_earlier_content(tmp_path):
    write_text(tmp_path / 'a', 'earlier')
    own(tmp_path / 'ours', 'earlier')
    with largest_file(1000):
        with pytest.raises(InputError, match=r'a cannot be written \(File too large\); name another place'):
            write_text(tmp_path / 'a', 'x' * 1001, overwrite=True)
        with pytest.raises(InputError, match=r'ours cannot be written \(File too large\)'):
            own(tmp_path / 'ours', 'x' * 1001)
    assert (tmp_path / 'a').read_text() == 'earlier' and (tmp_path / 'ours/samples/a').read_text() == 'earlier'
    assert sorted(os.listdir(tmp_path)) == ['a', 'ours']


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / 'loop').symlink_to('loop')
    (tmp_path / 'file').touch()
    require_writable('--out', tmp_path / 'new' / 'deep')
    for name in ('loop', 'loop/deep', 'file', 'file/deep'):
        with pytest.raises(InputError, match=f'^--out {tmp_path}/{name}: {tmp_path}/.* is no folder; name another'):
            require_writable('--out', tmp_path / name)
    with pytest.raises(InputError, match=r'^--out /proc/new: /proc cannot be written \(.*\); name another folder$'):
        require_writable('--out', '/proc/new')
    assert sorted(os.listdir(tmp_path)) == ['file', 'loop']


def test_names_of_any_bytes_are_written_as_they_are(tmp_path):
    write_text(tmp_path / os.fsdecode(b'\xff.txt'), os.fsdecode(b'\xfe.png'))
    assert os.listdir(os.fsencode(tmp_path)) == [b'\xff.txt']
    assert (tmp_path / os.fsdecode(b'\xff.txt')).read_bytes() == b'\xfe.png'
