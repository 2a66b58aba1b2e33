"""Markdown tables and CSV files."""

import csv

import pytest

from mmseg_bisenet.benchmark.tables import markdown, write_csv
from mmseg_bisenet.errors import InputError


def test_table():
    assert markdown(['a', 'b'], 'lr', [['x', 1], ['y', 2.5]]) == '| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2.5 |'


def test_csv(tmp_path):
    path = tmp_path / 'results' / 'cost.csv'
    for rows in ([dict(model='a,b', parameters=1), dict(model='c', parameters=2)], [dict(model='d', parameters=3)]):
        write_csv(path, rows, overwrite=True)
        with path.open(newline='') as file:
            assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows]

    with pytest.raises(InputError, match=r'cost\.csv exists already; name another, or give --overwrite'):
        write_csv(path, rows)


def test_csv_to_nowhere(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'cost\.csv cannot be written'):
        write_csv(tmp_path / 'file' / 'cost.csv', [dict(model='a')])
