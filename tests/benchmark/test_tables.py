"""Tables between markers and CSV files: what is replaced, what is kept, what is refused."""

import csv
import os

import pytest

from mmseg_bisenet.benchmark.tables import markdown, replace_between, require_markers, write_csv
from mmseg_bisenet.errors import InputError

TEXT = 'before\r\n<!-- cost:begin -->\nold\n<!-- cost:end -->\nafter ü'


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / 'README.md'
    path.write_bytes(TEXT.encode())
    return path


def test_table():
    assert markdown(['a', 'b'], 'lr', [['x', 1], ['y', 2.5]]) == '| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2.5 |'


def test_only_what_is_between_the_markers_is_replaced(readme):
    for _ in range(2):
        replace_between(readme, 'cost', 'new\n')
        expected = 'before\r\n<!-- cost:begin -->\n\nnew\n\n<!-- cost:end -->\nafter ü'
        assert readme.read_bytes().decode() == expected
    assert os.listdir(readme.parent) == ['README.md']


@pytest.mark.parametrize(
    'text',
    ['', '<!-- cost:begin -->', '<!-- cost:end --><!-- cost:begin -->', TEXT + TEXT, TEXT.replace('cost', 'costs')],
)
def test_markers_must_be_there_once(readme, text):
    readme.write_bytes(text.encode())
    for refused in (lambda: require_markers(readme, 'cost'), lambda: replace_between(readme, 'cost', 'new')):
        with pytest.raises(InputError, match=r'README\.md must have the lines <!-- cost:begin --> and'):
            refused()
    assert readme.read_bytes().decode() == text


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r'none\.md cannot be read \(No such file'):
        require_markers(tmp_path / 'none.md', 'cost')


def test_a_failure_leaves_the_old_file(readme, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(InputError, match=r'README\.md cannot be written \(No space left'):
        replace_between(readme, 'cost', 'new')
    assert readme.read_bytes().decode() == TEXT
    assert os.listdir(readme.parent) == ['README.md']


def test_csv(tmp_path):
    path = tmp_path / 'results' / 'cost.csv'
    for rows in ([dict(model='a,b', parameters=1), dict(model='c', parameters=2)], [dict(model='d', parameters=3)]):
        write_csv(path, rows)
        with path.open(newline='') as file:
            assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows]


def test_csv_to_nowhere(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'cost\.csv cannot be written'):
        write_csv(tmp_path / 'file' / 'cost.csv', [dict(model='a')])
