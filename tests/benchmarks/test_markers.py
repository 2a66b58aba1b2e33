"""Text between two markers: what is replaced, what is kept, what is refused."""

import os

import pytest

from benchmarks.markers import replace_between, require_markers
from mmseg_bisenet.errors import InputError

TEXT = 'before\r\n<!-- cost:begin -->\nold\n<!-- cost:end -->\nafter ü'


@pytest.fixture
def page(tmp_path):
    path = tmp_path / 'README.md'
    path.write_bytes(TEXT.encode())
    return path


def test_only_the_text_between_the_markers_is_replaced(page):
    for _ in range(2):
        replace_between(page, 'cost', 'new\n')
        expected = 'before\r\n<!-- cost:begin -->\n\nnew\n\n<!-- cost:end -->\nafter ü'
        assert page.read_bytes().decode() == expected
    assert os.listdir(page.parent) == ['README.md']


@pytest.mark.parametrize(
    'text',
    ['', '<!-- cost:begin -->', '<!-- cost:end --><!-- cost:begin -->', TEXT + TEXT, TEXT.replace('cost', 'costs')],
)
def test_both_markers_must_be_there_once(page, text):
    page.write_bytes(text.encode())
    for refused in (lambda: require_markers(page, 'cost'), lambda: replace_between(page, 'cost', 'new')):
        with pytest.raises(InputError, match=r'README\.md must have the lines <!-- cost:begin --> and'):
            refused()
    assert page.read_bytes().decode() == text


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r'none\.md cannot be read \(No such file'):
        require_markers(tmp_path / 'none.md', 'cost')


def test_a_failure_leaves_the_old_file(page, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(InputError, match=r'README\.md cannot be written \(No space left'):
        replace_between(page, 'cost', 'new')
    assert page.read_bytes().decode() == TEXT
    assert os.listdir(page.parent) == ['README.md']
