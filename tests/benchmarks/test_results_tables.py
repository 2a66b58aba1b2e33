"""The tables are those of the CSV files, in the documentation too."""

import csv
import io
import re
import shlex
from pathlib import Path

import pytest

from benchmarks import kinds, tables
from mmseg_bisenet.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
ROOFLINE = """config,precision,multiply_adds_g,rate_g,compute_bound_ms,copy_gb_s,memory_bound_ms,machine,threads
v2,fp32,24.6,250.2,98.31,20,40,EPYC,2
v2,bf16,24.6,500.4,49.15,20,20,EPYC,2
"""
RUNTIMES = """config,weights,height,width,machine,torch,images,runtime,precision,p50_ms,fps,ratio,same_labels,peak_mb
v2,v2.pth,512,1024,EPYC,2.13,50,stock,fp32,200,5,1,100,300
v2,v2.pth,512,1024,EPYC,2.13,50,plain-openvino,fp32,150,6.7,1.33,100,250
v2,v2.pth,512,1024,EPYC,2.13,50,torch,fp32,50,20,4,100,200
v2,v2.pth,512,1024,EPYC,2.13,50,compile,fp32,40,25,5,99.5,200
v2,v2.pth,512,1024,EPYC,2.13,50,compile,bf16,20,50,10,99.25,
"""


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """An empty folder that replaces ``results``."""
    folder = tmp_path / 'results'
    folder.mkdir()
    monkeypatch.setattr(tables, 'RESULTS', folder)
    return folder


def test_a_table_from_a_csv_file(results, tmp_path):
    (results / 'roofline.csv').write_text(ROOFLINE)
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- results: roofline.csv:begin -->\nold\n<!-- results: roofline.csv:end -->\nafter\n')
    assert tables.main([str(page)]) == 0
    written = page.read_text()
    assert '| bf16 | 24.6 | 500 | 49.1 | 20.0 | 20.0 |' in written
    assert 'config v2, machine EPYC, threads 2' in written
    assert 'old' not in written and written.startswith('before\n') and written.endswith('after\n')
    assert tables.main([str(page)]) == 0
    assert page.read_text() == written


def test_a_missing_csv_file_is_an_error(results, tmp_path, capsys):
    page = tmp_path / 'page.md'
    text = '<!-- results: gpu.csv:begin -->\nold\n<!-- results: gpu.csv:end -->\n'
    page.write_text(text)
    assert tables.main([str(page)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'benchmarks.tables: error: {page}: {results}/gpu.csv cannot be read (No such file')
    assert page.read_text() == text


def test_a_table_says_how_a_gpu_rounds(results):
    lines = ROOFLINE.splitlines()
    added = [',tf32,cudnn_benchmark', ',True,True', ',True,False']
    (results / 'a.csv').write_text('\n'.join(line + more for line, more in zip(lines, added, strict=True)))
    assert tables.table([results / 'a.csv']).endswith('config v2, machine EPYC, threads 2, tf32 True')


def test_what_no_benchmark_wrote(results):
    (results / 'a.csv').write_text('x,y\n1,2\n')
    with pytest.raises(InputError, match=r'a\.csv is not the CSV file of a known benchmark'):
        tables.table([results / 'a.csv'])
    with pytest.raises(InputError, match='cannot be read'):
        tables.renew(results / 'none.md')


def test_several_files_share_a_table(results, tmp_path):
    other = [line.replace('EPYC', 'GPU').replace('512,1024', '1024,2048') for line in RUNTIMES.splitlines()]
    del other[4]  # compile fp32
    other.insert(4, 'v2,v2.pth,1024,2048,GPU,2.13,50,torch,bf16,8,125,25,98.5,200')
    names = 'runtimes_v2_512x1024_epyc.csv', 'runtimes_v2_1024x2048_gpu.csv'
    (results / names[0]).write_text(RUNTIMES)
    (results / names[1]).write_text('\n'.join(other))
    page = tmp_path / 'page.md'
    marker = f'results: {" ".join(names)}'
    page.write_text(f'<!-- {marker}:begin -->\n<!-- {marker}:end -->\n')
    assert tables.main([str(page)]) == 0
    assert page.read_text().splitlines() == [
        f'<!-- {marker}:begin -->',
        '',
        '| runtime | precision | 512x1024, epyc | 1024x2048, gpu | lowest same labels, % |',
        '| --- | --- | ---: | ---: | ---: |',
        '| stock | fp32 | 200.0 (1.00) | 200.0 (1.00) | 100.000 |',
        '| plain-openvino | fp32 | 150.0 (1.33) | 150.0 (1.33) | 100.000 |',
        '| torch | fp32 | 50.0 (4.00) | 50.0 (4.00) | 100.000 |',
        '| torch | bf16 | - | 8.0 (25.00) | 98.500 |',
        '| compile | fp32 | 40.0 (5.00) | - | 99.500 |',
        '| compile | bf16 | 20.0 (10.00) | 20.0 (10.00) | 99.250 |',
        '',
        'Milliseconds an image (times as fast as stock). Config v2, weights v2.pth, torch 2.13; '
        '512x1024, epyc: machine EPYC; 1024x2048, gpu: machine GPU',
        '',
        f'<!-- {marker}:end -->',
    ]


def test_a_table_names_what_its_ratios_are_to(results):
    def write(name: str, vs: str) -> None:
        first, *lines = RUNTIMES.splitlines()
        (results / name).write_text('\n'.join([f'{first},vs', *(f'{line},{vs}' for line in lines)]))

    write('a.csv', 'openvino')
    write('b.csv', 'openvino')
    header, *_ = tables.table([results / 'a.csv']).splitlines()
    assert header == '| runtime | precision | ms | fps | times as fast as openvino | same labels, % | peak, MB |'
    assert '(times as fast as openvino). Config v2' in tables.table([results / 'a.csv', results / 'b.csv'])
    assert ' --vs openvino ' in tables.index(results)
    (results / 'a.csv').write_text(RUNTIMES)
    assert '| times as fast as stock |' in tables.table([results / 'a.csv'])
    write('b.csv', 'none')
    with pytest.raises(InputError, match=r'^b\.csv has no ratios; measure with a baseline \(--vs\)$'):
        tables.table([results / 'a.csv', results / 'b.csv'])


def test_only_files_of_one_benchmark_share_a_table(results):
    (results / 'a.csv').write_text(RUNTIMES)
    (results / 'b.csv').write_text(ROOFLINE)
    with pytest.raises(InputError, match=r'a\.csv, b\.csv cannot share a table'):
        tables.table([results / 'a.csv', results / 'b.csv'])


def test_the_index_of_the_results(results):
    (results / 'runtimes_v2_epyc.csv').write_text(RUNTIMES)
    (results / 'roofline_v2_epyc.csv').write_text(ROOFLINE)
    *_, roofline, runtimes = tables.index(results).splitlines()
    assert roofline == (
        '| [`roofline_v2_epyc.csv`](roofline_v2_epyc.csv) | `v2` | EPYC, threads 2 | '
        '`python -m benchmarks.roofline v2` |'
    )
    assert runtimes.endswith(
        '| EPYC, PyTorch 2.13 | `mmseg-bisenet benchmark v2 v2.pth --shape 512 1024 --runtime torch compile '
        '--precision fp32 bf16 --images 50` |'
    )


def test_a_flag_is_part_of_the_command():
    text = 'config,batch,height,width,compiled\nv2,4,64,64,False\nv2,4,64,64,True\n'
    rows = list(csv.DictReader(io.StringIO(text)))
    (training,) = (kind for kind in kinds.KINDS if kind.command.endswith('training'))
    assert shlex.split(kinds.command(training, rows))[3:] == 'v2 --batch 4 --shape 64 64 --compile'.split()
    assert '--compile' not in kinds.command(training, rows[:1])


@pytest.mark.parametrize('page', tables.pages(), ids=lambda page: page.name)
def test_the_documentation_is_up_to_date(page, tmp_path):
    text = page.read_text()
    copy = tmp_path / page.name
    copy.write_text(text)
    tables.renew(copy)
    assert copy.read_text() == text
    assert len(tables.MARKER.findall(text)) == len(re.findall(r'\.csv:end -->', text))


def test_the_list_of_results_is_up_to_date():
    assert (ROOT / 'results' / 'README.md').read_text() == tables.index(ROOT / 'results')
