"""``report`` on the work dir of a test: every number and picture of the page, also in a browser."""

import base64
import io
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser
from fake_work_dir import HEIGHT, WIDTH, fake_work_dir, log, read_scores, train, write_scores
from PIL import Image

from mmseg_bisenet.cli import main
from mmseg_bisenet.evaluation import confusion
from mmseg_bisenet.report import curves


@pytest.fixture
def work_dir(tmp_path) -> Path:
    return fake_work_dir(tmp_path / 'work dir')


def page(folder: Path) -> str:
    assert main(['report', str(folder), '--overwrite']) == 0
    return (folder / 'report.html').read_text()


def pictures(text: str) -> dict[str, Image.Image]:
    """The pictures of the page by their alternative text."""
    found = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([^"]+)"', text)
    return {alt: Image.open(io.BytesIO(base64.b64decode(data))) for data, alt in found}


def test_numbers_are_those_of_the_scores(work_dir):
    text, scores = page(work_dir), read_scores(work_dir)
    tiles = re.findall(r'<dt>(\w+), %</dt><dd>([\d.]+)</dd>', text)
    assert tiles == [(name, f'{value:.2f}') for name, value in scores['summary'].items()]
    shown = re.findall(r'<td class="bar"><span>([^<]+)</span>', text)
    assert shown == [f'{row[key]:.2f}' for row in scores['per_class'] for key in ('IoU', 'Acc', 'pixels')]
    counts = np.array(scores['confusion'])
    cells = re.findall(r'<td(?: class="[\w ]*")? style="[^"]+" title="[^"]+">([\d.]+)</td>', text)
    assert cells == [f'{value:.1f}' for value in (100 * counts / counts.sum(1, keepdims=True)).ravel()]
    wrong = counts - np.diag(counts.diagonal())
    i, j = np.unravel_index(wrong.argmax(), wrong.shape)
    first = re.search(r'<tr><td>(.*?)</td><td>(.*?)</td><td class="n">(.*?)</td><td class="n">(.*?)</td>', text)
    names = [
        name.replace('<b>last</b> & "odd"', '&lt;b&gt;last&lt;/b&gt; &amp; &#34;odd&#34;') for name in scores['classes']
    ]
    of_class, of_wrong = 100 * wrong[i, j] / counts[i].sum(), 100 * wrong[i, j] / wrong.sum()
    assert first.groups() == (names[i], names[j], f'{of_class:.1f}', f'{of_wrong:.1f}')
    assert '<b>' not in text
    for value in (scores['config'], scores['checkpoint'], '2.13.0', scores['created']):
        assert value in text


def test_a_class_that_never_occurs_and_boundary_iou(work_dir):
    scores = read_scores(work_dir)
    matrix = np.array(scores['confusion'])
    matrix[0] = matrix[:, 0] = 0
    scores['confusion'] = matrix.tolist()
    for name, values in confusion.class_scores(matrix).items():
        for row, value in zip(scores['per_class'], values.tolist(), strict=True):
            row[name] = None if np.isnan(value) else value
    for row in scores['per_class']:
        row['boundary_IoU'] = 12.34
    scores['summary'] = confusion.summary(matrix)
    write_scores(work_dir, scores)
    shown = re.findall(r'<td class="bar"><span>([^<]+)</span>', page(work_dir))
    assert shown[:4] == ['—', '—', '12.34', '0.00']


@pytest.mark.parametrize('name', ['IoU', 'Acc', 'pixels', 'aAcc', 'mIoU'])
@pytest.mark.parametrize('value', [1.5, None])
def test_scores_that_contradict_the_confusion_matrix(work_dir, capsys, name, value):
    scores = read_scores(work_dir)
    place = 'summary' if name in scores['summary'] else 'per_class[1]'
    rows = scores['summary'] if name in scores['summary'] else scores['per_class'][1]
    right = rows[name]
    rows[name] = value
    write_scores(work_dir, scores)
    assert main(['report', str(work_dir), '--overwrite']) == 2
    assert f'({place}.{name} is {value}, and {right:.4f} in confusion); ' in capsys.readouterr().err
    rows[name] = round(right, 2)  # as other programs round
    write_scores(work_dir, scores)
    assert main(['report', str(work_dir), '--overwrite']) == 0


def test_pictures_show_the_labels(work_dir):
    found, scores = pictures(page(work_dir)), read_scores(work_dir)
    assert len(found) == 4 * 4
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(scores['palette'])] = scores['palette']
    for sample in scores['samples']:
        name = Path(sample['img_path']).name
        ids = {key: np.asarray(Image.open(work_dir / 'evaluation' / sample[key])) for key in ('truth', 'prediction')}
        for key in ids:
            (picture,) = (found[alt] for alt in found if alt.startswith(f'{key} of {name}: class'))
            np.testing.assert_array_equal(np.asarray(picture.convert('RGB')), colours[ids[key]])
        counts = ids['truth'] != 255
        share = 100 * (counts & (ids['truth'] != ids['prediction'])).sum() / counts.sum()
        assert f'wrong pixels of {name}: {share:.1f} % of the labelled pixels' in found
        assert found[f'photo {name}'].size == (WIDTH, HEIGHT)


def test_error_map_is_red_where_wrong_and_black_where_ignored(tmp_path):
    from mmseg_bisenet.report.pictures import _errors

    wrong, ignored = np.zeros((2, 2, 4), bool)
    wrong[0, 1] = ignored[1, 2] = True
    photo = Image.new('RGB', (8, 4), (100, 100, 100))  # twice the size of the labels
    expected = np.full((2, 4, 3), 80 + 66)
    expected[0, 1] = [36 + 168, 36 + 30, 36 + 30]
    expected[1, 2] = 0
    np.testing.assert_array_equal(np.asarray(_errors(photo, wrong, ignored)), expected)


def test_large_pictures_are_made_smaller(work_dir):
    path = read_scores(work_dir)['samples'][0]['img_path']
    Image.open(path).resize((1280, 640)).save(path)
    assert pictures(page(work_dir))[f'photo {Path(path).name}'].size == (640, 320)


def test_photos_are_those_that_the_test_read(work_dir, monkeypatch):
    """16-bit grey is scaled, the EXIF orientation is applied, and Pillow's pixel limit has no effect."""
    grey, side, *_ = (sample['img_path'] for sample in read_scores(work_dir)['samples'])
    ramp = np.linspace(0, 65535, WIDTH).astype(np.uint16)[None].repeat(HEIGHT, 0)
    Image.fromarray(ramp).save(grey)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new('RGB', (HEIGHT, WIDTH)).save(side, exif=exif)
    with monkeypatch.context() as patch:
        patch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
        text = page(work_dir)
    found = pictures(text)
    shown = np.asarray(found[f'photo {Path(grey).name}'].convert('L'), np.int64)
    assert abs(shown - ramp // 256).max() <= 4  # of a JPEG
    assert found[f'photo {Path(side).name}'].size == (WIDTH, HEIGHT)


def test_pictures_that_are_gone_are_named(work_dir):
    first, second, third, _ = read_scores(work_dir)['samples']
    Path(first['img_path']).unlink()
    Path(second['img_path']).write_bytes(b'nothing')
    (work_dir / 'evaluation' / third['truth']).unlink()
    text = page(work_dir)
    assert len(pictures(text)) == 4 * 4 - 4
    assert re.findall(r'<div class="missing">(.*?)</div>', text) == [
        f'{first["img_path"]} does not exist',
        f'{second["img_path"]} cannot be read',
        *[f'{work_dir / "evaluation" / third["truth"]} does not exist'] * 2,
    ]


def test_confusion_of_many_classes_is_a_picture(tmp_path):
    text = page(fake_work_dir(tmp_path, count=31))
    (picture,) = (image for alt, image in pictures(text).items() if alt.startswith('confusion matrix of 31 classes'))
    counts = np.array(read_scores(tmp_path)['confusion'])
    share = counts / counts.sum(1, keepdims=True)
    cells = np.asarray(picture)[1::4, 1::4]
    np.testing.assert_array_equal(cells[..., 3], np.rint(255 * np.sqrt(share)))
    assert 'class="matrix"' not in text


def test_curves_are_of_the_run_that_took_over(work_dir):
    assert '<svg' not in page(work_dir)
    train(work_dir)
    lines, _ = curves.read(work_dir)
    assert lines == [
        dict(loss=8.0, lr=0.01, step=10),
        dict(mIoU=50.0, step=10),
        dict(loss=2.0, lr=0.005, step=20),
        dict(mIoU=60.0, step=20),
    ]
    loss, miou, rate = curves.charts(lines)
    assert [chart.summary for chart in (loss, miou, rate)] == [
        '8 at step 10, 2 at step 20',
        'best 60.00 at step 20',
        'highest 0.01',
    ]
    assert loss.points == [(44, 10), (378, 190)]
    halfway = (10 + 190) / 2  # 4 is in the middle of 2 and 8
    assert {text: y for y, text in loss.y_ticks}['5'] == pytest.approx(halfway - 180 * np.log10(5 / 4) / np.log10(4))
    assert miou.dots[1] == (378, 10, '60.00 at step 20')
    assert page(work_dir).count('<svg') == 3


def test_what_the_metric_writes(work_dir, tmp_path):
    from mmseg_bisenet.evaluation import hook
    from mmseg_bisenet.evaluation.segmentation_metric import SegmentationMetric

    metric = SegmentationMetric(boundary=True)
    metric.extremes.count = 2
    metric.dataset_meta = dict(classes=('sky', 'road', 'tree'))  # without a palette
    for number in range(3):
        truth = torch.randint(0, 2, (1, HEIGHT, WIDTH))  # no tree
        sample = dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=truth * (torch.rand(truth.shape) < 0.9)))
        metric.process({}, [sample | dict(img_path=str(work_dir / f'{number} ü.png'))])
    metric.process({}, [dict(skipped=dict(img_path='a.png', reason='cannot be decoded'))])
    metric.evaluate(4)
    written = tmp_path / 'written'
    hook.write(written / 'evaluation', dict(config=None, checkpoint=None, created='now', versions={}), metric)
    assert read_scores(written).keys() == read_scores(work_dir).keys()
    text, report = page(written), metric.report
    tiles = re.findall(r'<dt>(\w+), %</dt><dd>([\d.]+)</dd>', text)
    assert tiles == [(name, f'{value:.2f}') for name, value in report['summary'].items()]
    cells = re.findall(r'<td class="bar"><span>([^<]+)</span>', text)
    keys = ('IoU', 'Acc', 'boundary_IoU', 'pixels')
    assert cells == [f'{row[key]:.2f}'.replace('nan', '—') for row in report['per_class'] for key in keys]
    assert [cells[8], cells[11]] == ['—', '0.00']
    assert text.count('<img src=') == 3 * 4
    assert '<td>a.png</td><td>cannot be decoded</td>' in text


def test_skipped_images_are_listed(work_dir):
    scores = read_scores(work_dir)
    assert 'id="skipped"' not in page(work_dir)
    scores['skipped'] = [dict(img_path='data/a.png', reason='cannot be decoded')]
    write_scores(work_dir, scores)
    text = page(work_dir)
    assert '<a class="worst" href="#skipped">1 skipped</a>' in text
    assert '<tr><td>data/a.png</td><td>cannot be decoded</td></tr>' in text


def test_links_lead_to_the_numbers_from_another_folder(work_dir, tmp_path):
    (tmp_path / 'else').mkdir()
    assert main(['report', str(work_dir), '--out', str(tmp_path / 'else' / 'a.html')]) == 0
    text = (tmp_path / 'else' / 'a.html').read_text()
    assert re.findall(r'href="(\.\.[^"]+)"', text) == [
        f'../work%20dir/evaluation/{name}' for name in ('scores.json', 'per_class.csv', 'per_image.csv')
    ]
    assert [path.name for path in (tmp_path / 'else').iterdir()] == ['a.html']


def error(capsys, *options: object) -> str:
    assert main(['report', *map(str, options)]) == 2
    return capsys.readouterr().err


def test_no_scores(tmp_path, capsys):
    assert error(capsys, tmp_path) == (
        f'mmseg-bisenet: error: {tmp_path}/evaluation/scores.json does not exist; '
        f'run mmseg-bisenet test CONFIG CHECKPOINT --work-dir {tmp_path} first\n'
    )


def test_damaged_scores(work_dir, capsys):
    path = work_dir / 'evaluation' / 'scores.json'
    path.write_text(path.read_text()[:100])
    assert f'{path} is damaged (Unterminated string' in error(capsys, work_dir)
    path.write_text('{"classes": []}')
    line = error(capsys, work_dir)
    assert f'{path} is damaged (it lacks checkpoint, config, confusion, created, palette' in line
    assert line.endswith(f'; run mmseg-bisenet test CONFIG CHECKPOINT --work-dir {work_dir} again\n')


@pytest.mark.parametrize(
    'change, reason',
    [
        (dict(summary={}), 'summary has to be names with percentages from 0 to 100'),
        (dict(summary=dict(mIoU=math.nan)), 'NaN is no number of JSON'),
        (dict(summary=dict(mIoU=math.inf)), 'Infinity is no number of JSON'),
        (dict(summary=dict(mIoU=-1)), 'summary has to be names with percentages from 0 to 100'),
        (dict(summary=dict(mIoU=101)), 'summary has to be names with percentages from 0 to 100'),
        (dict(per_class=[]), 'per_class has to be a row for each of classes'),
        (dict(classes=['a', 'a', 'b', 'c']), 'classes has to be a list of different names'),
        (dict(confusion=[[0, 0, 0, -1]] * 4), 'confusion has to be 4 rows of 4 counts, none below 0'),
        (dict(per_image=[dict(img_path='a', mIoU=1)]), 'per_image[0].aAcc has to be a percentage from 0 to 100'),
        (dict(skipped=[dict(img_path=1)]), 'skipped[0].img_path has to be text'),
    ],
)
def test_figures_that_cannot_be(work_dir, capsys, change, reason):
    write_scores(work_dir, read_scores(work_dir) | change)
    assert f'scores.json is damaged ({reason}); run mmseg-bisenet test' in error(capsys, work_dir)


def test_lists_in_lists_without_end(work_dir, capsys):
    deep = '[' * 200_000
    log(work_dir, '20260101_000000', dict(loss=1.0, step=1), dict(loss=1.0, step=10**400), end=deep)
    text = page(work_dir)
    assert f'left out: 2, the first is line 2 of {work_dir}/20260101_000000/vis_data/scalars.json' in text
    capsys.readouterr()
    (work_dir / 'evaluation' / 'scores.json').write_text(deep)
    assert 'scores.json is damaged (it is nested too deeply)' in error(capsys, work_dir, '--overwrite')


def test_pictures_that_are_no_labels_are_named(work_dir):
    truth, prediction = (work_dir / 'evaluation/samples' / f'best_00_{name}.png' for name in ('truth', 'prediction'))
    Image.new('L', (3, 2)).save(prediction)
    assert f'{prediction} has another size than {truth}' in page(work_dir)
    Image.new('RGB', (WIDTH, HEIGHT)).save(truth)
    assert f'{truth} is no grey picture of 8 bits' in page(work_dir)


@pytest.mark.parametrize(
    'key, value',
    [
        ('classes', 5),
        ('classes', ['one']),
        ('palette', 'red'),
        ('palette', [[1, 2]]),
        ('confusion', [[1, 2], [3]]),
        ('confusion', [[1]]),
        ('summary', None),
        ('per_class', [{}]),
        ('per_image', 7),
        ('samples', [{}]),
        ('samples', 'none'),
        ('config', 3),
        ('versions', 1),
    ],
)
def test_scores_of_other_types(work_dir, capsys, key, value):
    write_scores(work_dir, read_scores(work_dir) | {key: value})
    line = error(capsys, work_dir)
    assert line.startswith(f'mmseg-bisenet: error: {work_dir}/evaluation/scores.json is damaged (')
    assert line.endswith(f'); run mmseg-bisenet test CONFIG CHECKPOINT --work-dir {work_dir} again\n')
    assert line.count('\n') == 1 and not (work_dir / 'report.html').exists()


def test_damaged_lines_of_logs_are_counted(work_dir, capsys):
    log(work_dir, '20260101_000000', dict(loss=math.nan, step=1), dict(loss='high', step=2), dict(loss=2.0, step='two'))
    log(work_dir, '20260101_000001', dict(loss=1.0, step=3), [], dict(step=4))
    with (work_dir / '20260101_000001/vis_data/scalars.json').open('a') as file:
        file.write('{"loss": 1.0, "st')  # killed
    told = f'damaged lines of logs are left out: 4, the first is line 2 of {work_dir}/20260101_000000/vis_data/scalars'
    text = page(work_dir)
    assert '1 at step 3, 1 at step 3' in text and f'<p>Note: {told}.json.</p>' in text
    assert capsys.readouterr().err == f'note: {told}.json\n'
    assert len(curves.read(work_dir)[0]) == 3


def test_whole_logs_leave_nothing_out(work_dir, capsys):
    log(work_dir, '20260101_000000', dict(loss=1.0, step=3), dict(mIoU=math.nan, step=3))
    assert 'left out' not in page(work_dir) and not capsys.readouterr().err


def test_a_work_dir_with_a_name_of_any_bytes(work_dir):
    folder = work_dir.rename(work_dir.with_name(os.fsdecode(b'\xff')))
    assert main(['report', str(folder), '--out', str(folder.parent / 'out.html')]) == 0
    assert b'href="%FF/evaluation/scores.json"' in (folder.parent / 'out.html').read_bytes()


def test_what_was_tested_is_not_replaced(work_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the checkpoint is work/iter_400.pth
    train(work_dir)
    scores = read_scores(work_dir)
    for path in (scores['checkpoint'], scores['config']):
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text('mine')
    log = work_dir / '20260101_000000/vis_data/scalars.json'
    for path in (scores['checkpoint'], scores['config'], scores['samples'][0]['img_path'], log):
        before = Path(path).read_bytes()
        line = error(capsys, work_dir, '--out', path, '--overwrite')
        assert line == (
            f'mmseg-bisenet: error: {path} is an input of this command, and would be overwritten; name another\n'
        )
        assert Path(path).read_bytes() == before


@pytest.mark.parametrize('name', ['scores.json', 'new.html', 'samples/best_00_truth.png'])
def test_nothing_is_written_into_the_results(work_dir, capsys, name):
    before = {path: path.read_bytes() for path in work_dir.rglob('*') if path.is_file()}
    line = error(capsys, work_dir, '--out', work_dir / 'evaluation' / name, '--overwrite')
    assert f'error: {work_dir}/evaluation/{name} lies in {work_dir}/evaluation, which is written as a whole' in line
    assert {path: path.read_bytes() for path in work_dir.rglob('*') if path.is_file()} == before


def test_pipes_are_not_waited_for(work_dir, capsys):
    train(work_dir)
    photo = Path(read_scores(work_dir)['samples'][0]['img_path'])
    log = work_dir / '20260101_000002/vis_data/scalars.json'
    for path in (photo, log):
        path.unlink()
        os.mkfifo(path)
    assert f'{photo} cannot be read' in page(work_dir)
    scores = work_dir / 'evaluation/scores.json'
    scores.unlink()
    os.mkfifo(scores)
    assert f'{scores} is a pipe or a device; save what it gives to a file' in error(capsys, work_dir, '--overwrite')


def test_target_that_cannot_be_written(work_dir, capsys):
    file = work_dir / '0 ü.png'
    line = error(capsys, work_dir, '--out', file / 'x' / 'a.html')
    assert line == f'mmseg-bisenet: error: --out {file}/x: {file} is no folder; name another folder\n'
    before = page(work_dir)
    (work_dir / f'.report.html.{os.getpid()}.partial').mkdir()  # a write that fails keeps the earlier page
    assert 'cannot be written' in error(capsys, work_dir, '--overwrite')
    assert 'report.html exists already; name another, or give --overwrite' in error(capsys, work_dir)
    assert (work_dir / 'report.html').read_text() == before


NO_CHROMIUM = 'no chromium: apt-get install -y --no-install-recommends chromium'


@pytest.mark.skipif(CHROMIUM is None and not os.environ.get('CI'), reason=NO_CHROMIUM)
def test_the_page_in_a_browser(work_dir, tmp_path):
    assert CHROMIUM, NO_CHROMIUM
    train(work_dir)
    page(work_dir)
    page(fake_work_dir(tmp_path / 'many', count=171))
    with Browser(tmp_path / 'profile') as browser:
        for folder, count in ((work_dir, 16), (tmp_path / 'many', 17)):
            for width, dark in ((1280, False), (390, True)):
                browser.open(folder / 'report.html', width, dark)
                shown = browser.ask('[...document.images].map(image => image.naturalWidth * image.width)')
                assert len(shown) == count and all(shown)
                sides = browser.ask('[document.documentElement.scrollWidth, document.documentElement.clientWidth]')
                assert sides[0] == sides[1]  # nothing overflows
                ground = browser.ask('getComputedStyle(document.body).backgroundColor')
                assert ground == ('rgb(20, 24, 29)' if dark else 'rgb(255, 255, 255)')
                told = [event for event in browser.events if event['method'] != 'Network.dataReceived']
                assert not [
                    event for event in told if event['method'].startswith(('Log.', 'Runtime.exc', 'Runtime.con'))
                ]
                asked = [
                    event['params']['request']['url']
                    for event in told
                    if event['method'].endswith('.requestWillBeSent')
                ]
                assert [url for url in asked if not url.startswith('data:')] == [(folder / 'report.html').as_uri()]
        height = browser.ask('document.documentElement.scrollHeight')
        assert Image.open(io.BytesIO(browser.screenshot())).size == (390, height)


@pytest.mark.parametrize('name', ['a.pdf', 'a', 'a.html.png'])
def test_a_page_of_another_name(work_dir, tmp_path, capsys, name):
    line = error(capsys, work_dir, '--out', tmp_path / name)
    assert line == (
        f'mmseg-bisenet: error: --out {tmp_path / name}: the report is an HTML page; give a name that ends in .html\n'
    )


def test_a_place_that_cannot_be_made(work_dir, capsys):
    assert error(capsys, work_dir, '--out', '/proc/none/a.html').startswith('mmseg-bisenet: error: --out /proc/none: ')


@pytest.mark.parametrize('name', ['evaluation', 'evaluation/scores.json'])
def test_a_part_of_a_work_dir(work_dir, capsys, name):
    line = error(capsys, work_dir / name)
    assert (
        f'error: {work_dir / name} is a part of a work dir; give the work dir, which has the folder evaluation' in line
    )
