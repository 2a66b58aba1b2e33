"""Tables are those of the CSV files, in the documentation too."""

import re
from pathlib import Path

import pytest

from benchmarks import published
from mmseg_bisenet import cli
from mmseg_bisenet.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
ROOFLINE = """config,precision,multiply_adds_g,rate_g,compute_floor_ms,copy_gb_s,memory_floor_ms,machine,threads
v2,fp32,24.6,250.2,98.31,20,40,EPYC,2
v2,bf16,24.6,500.4,49.15,20,20,EPYC,2
"""


def test_a_table_from_a_csv_file(tmp_path, capsys):
    (tmp_path / 'roofline.csv').write_text(ROOFLINE)
    page = tmp_path / 'page.md'
    text = 'before\n<!-- {0}:begin -->\nold\n<!-- {0}:end -->\n'
    page.write_text(text.format('roofline.csv') + text.format('gpu.csv'))
    assert cli.main(['tables', str(page)]) == 0
    assert 'gpu.csv is not there: not measured' in capsys.readouterr().err
    written = page.read_text()
    assert '| bf16 | 24.6 | 500 | 49.1 | 20.0 | 20.0 |' in written
    assert 'config v2, machine EPYC, threads 2' in written
    assert 'Not measured.' in written and 'old' not in written
    assert cli.main(['tables', str(page)]) == 0
    assert page.read_text() == written


def test_a_table_says_how_a_gpu_rounds(tmp_path):
    lines = ROOFLINE.splitlines()
    added = [',tf32,cudnn_benchmark', ',True,True', ',True,False']
    (tmp_path / 'a.csv').write_text('\n'.join(line + more for line, more in zip(lines, added, strict=True)))
    assert published.table(tmp_path / 'a.csv').endswith('config v2, machine EPYC, threads 2, tf32 True')


def test_what_no_benchmark_wrote(tmp_path):
    (tmp_path / 'a.csv').write_text('x,y\n1,2\n')
    with pytest.raises(InputError, match=r'a\.csv is of no benchmark known here'):
        published.table(tmp_path / 'a.csv')
    with pytest.raises(InputError, match='cannot be read'):
        published.renew(tmp_path / 'none.md')


@pytest.mark.parametrize('name', ['README.md', 'docs/performance.md', 'docs/evaluation.md'])
def test_the_documentation_is_up_to_date(name, tmp_path):
    text = (ROOT / name).read_text()
    copy = tmp_path / 'root' / name
    copy.parent.mkdir(parents=True)
    copy.write_text(text)
    for csv in published.MARKER.findall(text):
        source, target = (ROOT / name).parent / csv, copy.parent / csv
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    published.renew(copy)
    assert copy.read_text() == text
    assert len(published.MARKER.findall(text)) == len(re.findall(r'\.csv:end -->', text))
