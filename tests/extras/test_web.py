"""The extra `web` as pip installs it beside `run`: the page in a headless Chromium, without PyTorch.

`make test-extras` runs this file in that environment, without the conftest of the other tests, which imports PyTorch.
"""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from browser import Browser
from PIL import Image
from ports import free_ports
from predict.media import greys, write_video

from mmseg_bisenet.cli.web import draw_streets
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes import draw_scene
from mmseg_bisenet.predict import Predictor, Result, web
from mmseg_bisenet.predict.pipeline import Report
from mmseg_bisenet.predict.web import FRAMES, UPLOAD, legend

COMMAND = Path(sys.executable).with_name('mmseg-bisenet')
CAMERA = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream')
LEGEND = """[...document.querySelectorAll('.legend div')].map(row => row.innerText.split('\\n').join(' '))"""


@pytest.fixture(scope='module')
def file(tmp_path_factory) -> Path:
    """The shipped model, exported in the environment of `make env`."""
    folder = tmp_path_factory.mktemp('exported')
    command = [os.environ['EXPORT_WITH'], 'export', 'bisenetv2_camvid', '--shape', '96', '128', '--output', folder]
    subprocess.run(command, check=True, capture_output=True)
    (file,) = folder.glob('*.onnx')
    return file.rename(folder / 'street.onnx')


@pytest.fixture(scope='module')
def predictor(file) -> Predictor:
    return Predictor(file)


@contextmanager
def serving(file: Path, folder: Path, *script: str | Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of a page whose temporary files are in ``folder``, and its process."""
    command = [*(script or [COMMAND]), 'web', '--model', file, '--port', str(*free_ports(1))]
    settings = os.environ | dict(
        TMPDIR=str(folder), HTTP_PROXY='http://127.0.0.1:9'
    )  # the page asks itself, not a proxy
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[0], process
        finally:
            process.terminate()


@pytest.fixture(scope='module')
def page(file, tmp_path_factory) -> Iterator[str]:
    with serving(file, tmp_path_factory.mktemp('temporary')) as (page, _):
        yield page


@pytest.fixture(scope='module')
def chromium(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp('profile'), *CAMERA) as browser:
        yield browser


@pytest.fixture
def browser(chromium, page, tmp_path) -> Browser:
    """The page as it is opened."""
    chromium.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(tmp_path))
    chromium.open(page)
    chromium.wait("document.querySelectorAll('input[type=file]').length")
    return chromium


@pytest.fixture
def street(tmp_path) -> Path:
    """A photograph in a file whose name a shell and HTML would read."""
    path = tmp_path / 'a & b street.png'
    cv2.imwrite(str(path), draw_scene(20, (180, 320))[0])
    return path


def click(browser: Browser, text: str) -> None:
    """The element with that text or label."""
    found = (
        f"[...document.querySelectorAll('button')].findLast(e => [e.innerText.trim(), e.ariaLabel].includes({text!r}))"
    )
    browser.wait(f'{found} && !{found}.disabled')
    browser.ask(f'{found}.click()')


def downloaded(browser: Browser, button: str, folder: Path) -> tuple[str, bytes]:
    """The name and the content of the file that a button saves in ``folder``."""
    browser.events.clear()
    click(browser, button)
    while not any(event['params'].get('state') == 'completed' for event in browser.events):
        browser.ask('0')
    (name,) = [
        event['params'].get('suggestedFilename') for event in browser.events if 'downloadWillBegin' in event['method']
    ]
    return name, (folder / name).read_bytes()


def messages(browser: Browser, start: str) -> list[str]:
    """The messages of the page, once one of them starts so. None names a path or a line of code."""
    toasts = "[...document.querySelectorAll('[data-testid=toast-text]')].map(e => e.innerText)"
    found = browser.wait(f'{toasts}.some(e => e.startsWith({start!r})) && {toasts}')
    shown = browser.ask('document.body.innerText')
    assert 'Traceback' not in shown and '/tmp' not in shown and 'site-packages' not in shown
    return found


def shares(share: dict[str, float]) -> list[str]:
    """The rows of the legend, the largest share first."""
    return [f'{name} {part:.1%}' for name, part in sorted(share.items(), key=lambda item: -item[1]) if round(part, 3)]


# -- the page ----------------------------------------------------------------------------------------------------------


def test_nothing_else_is_installed_or_asked(browser, page):
    names = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    assert {'gradio', 'av', 'onnxruntime'} <= names and not names & {'torch', 'mmengine', 'mmsegmentation'}
    click(browser, 'Video')
    browser.wait("document.querySelectorAll('input[type=file]').length == 2")
    requests = [event['params']['request']['url'] for event in browser.events if 'request' in event['params']]
    assert len(requests) > 20
    assert {url for url in requests if not url.startswith((page, 'data:', 'blob:'))} == set()


@pytest.mark.parametrize('width, dark', [(1280, False), (390, True)])
def test_a_photograph(chromium, browser, page, predictor, street, tmp_path, width, dark):
    chromium.open(page, width, dark, height=800)
    chromium.wait("document.querySelectorAll('input[type=file]').length")
    browser.choose('input[type=file]', street)
    rows = browser.wait(f'{LEGEND}.length && {LEGEND}')
    result = predictor(street)
    assert rows == shares(result.share()) and len(rows) > 5
    stages = browser.ask("document.querySelector('.stages').innerText").splitlines()
    assert stages[0] == '320x180, onnxruntime in fp32'
    assert [text.rsplit(' ', 2)[0] for text in stages[1].split(' · ')][:5] == [
        *('decode', 'network', 'labels', 'draw', 'encode')
    ]
    colours = browser.ask("[...document.querySelectorAll('.legend i')].map(e => getComputedStyle(e).backgroundColor)")
    order = [result.palette[result.classes.index(row.rsplit(' ', 1)[0])] for row in rows]
    assert colours == [f'rgb({red}, {green}, {blue})' for red, green, blue in order]
    sizes = "[...document.querySelectorAll('[class*=slider] img')].map(image => image.naturalWidth)"
    assert browser.wait(f'{sizes}.every(Boolean) && {sizes}') == [320, 320]
    assert browser.ask('document.documentElement.scrollWidth') <= width
    name, content = downloaded(browser, 'Labels, PNG', tmp_path)
    assert name == 'a & b street_labels.png'
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), result.labels)
    assert downloaded(browser, 'Overlay, JPEG', tmp_path) == ('a & b street.jpg', result.encoded('overlay', '.jpg'))
    (frame,) = json.loads(downloaded(browser, 'Shares, JSON', tmp_path)[1])['frames']
    assert frame['share'] == result.share() and frame['width'] == 320


def test_an_example(browser, predictor, tmp_path):
    browser.wait("document.querySelectorAll('.gallery-item').length == 3")
    browser.ask("document.querySelector('.gallery-item').click()")
    rows = browser.wait(f'{LEGEND}.length && {LEGEND}')
    assert rows == shares(predictor(draw_scene(20, (360, 640))[0]).share())


def test_a_broken_file_after_a_photograph(browser, street, tmp_path):
    browser.choose('input[type=file]', street)
    browser.wait(f'{LEGEND}.length')
    click(browser, 'Remove Image')
    browser.wait(f'!{LEGEND}.length && document.querySelectorAll("input[type=file]").length')
    words(tmp_path / 'words.png')
    browser.choose('input[type=file]', tmp_path / 'words.png')
    assert messages(browser, 'words.png is no image') and browser.ask(f'{LEGEND}.length') == 0


def test_names_of_classes_are_no_html(predictor):
    result = Result(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), ('<b>&',), [(1, 2, 3)])
    assert '<span>&lt;b&gt;&amp;</span><b>100.0%</b>' in legend(result, result.share(), Report(1), predictor)


def test_a_video(browser, predictor, tmp_path):
    path = write_video(tmp_path / 'drive.mp4', greys(6))
    click(browser, 'Video')
    browser.wait("document.querySelectorAll('input[type=file]').length == 2")
    browser.choose('input[accept*=video]', path)
    rows = browser.wait(f'{LEGEND}.length && {LEGEND}')
    results = list(predictor.stream(path))
    mean = {name: float(np.mean([result.share()[name] for result in results])) for name in predictor.classes}
    assert rows == shares(mean)
    assert browser.ask("[...document.querySelectorAll('.stages')].at(-1).innerText").startswith('6 frames, ')
    assert browser.wait("[...document.querySelectorAll('video')].at(-1).videoWidth") == 96
    with zipfile.ZipFile(BytesIO(downloaded(browser, 'Labels, ZIP of PNG', tmp_path)[1])) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith('.png')]
        assert names == [f'drive/{number:06}_labels.png' for number in range(1, 7)]
        for name, result in zip(names, results, strict=True):
            labels = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(labels, result.labels)
    path.unlink()  # the overlay has the same name
    with av.open(BytesIO(downloaded(browser, 'Overlay, MP4', tmp_path)[1])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


def test_the_camera(browser):
    click(browser, 'Capture from camera')
    browser.wait("!!document.querySelector('.wrap')")
    browser.ask("[...document.querySelectorAll('button')].find(e => e.innerText.includes('Access Webcam')).click()")
    browser.wait("document.querySelector('video')?.videoWidth")
    browser.ask('document.querySelector(\'[aria-label="capture photo"], [aria-label=capture]\').click()')
    assert browser.wait(f'{LEGEND}.length')
    assert browser.ask("document.querySelector('.stages').innerText").split('x')[0] in ('640', '1280', '1920')


# -- what is refused ---------------------------------------------------------------------------------------------------


def words(path: Path) -> None:
    path.write_bytes(b'words')


def cut(path: Path) -> None:
    whole = cv2.imencode('.jpg', draw_scene(20, (180, 320))[0])[1].tobytes()
    path.write_bytes(whole[: len(whole) // 2])


def many_pixels(path: Path) -> None:
    Image.new('1', (10_000, 6_500)).save(path)


def many_bytes(path: Path) -> None:
    with path.open('wb') as file:
        file.truncate(UPLOAD + 1)


def many_frames(path: Path) -> None:
    write_video(path, [np.zeros((32, 32, 3), np.uint8)] * (FRAMES + 1))


@pytest.mark.parametrize(
    'name, write, reason',
    [
        ('words.png', words, 'words.png is no image of a format that is read; give a PNG or JPEG file'),
        ('half.jpg', cut, 'half.jpg cannot be read (image file is truncated'),
        ('wide.png', many_pixels, 'wide.png has 10000x6500 pixels; the limit is 64 megapixels: make it smaller'),
        ('large.png', many_bytes, 'File(s) exceed the maximum allowed size of 256.0 Mb'),
        ('words.mp4', words, 'words.mp4 cannot be read as a video (Invalid data found when processing input)'),
        ('long.mp4', many_frames, 'long.mp4 has more than 1500 frames; label it with mmseg-bisenet predict'),
    ],
)
def test_a_file_that_is_refused(browser, tmp_path, name, write, reason):
    write(tmp_path / name)
    if name.endswith('mp4'):
        click(browser, 'Video')
        browser.wait("document.querySelectorAll('input[type=file]').length == 2")
    browser.choose('input[accept*=video]' if name.endswith('mp4') else 'input[type=file]', tmp_path / name)
    others = [message for message in messages(browser, reason) if not message.startswith(reason)]
    assert others in ([], ['Video not playable'])  # which the browser finds by itself
    assert browser.ask(f'{LEGEND}.length') == 0


def post(page: str, upload: str, choice: str = 'street.onnx') -> str:
    """The event that a request without a browser ends in."""
    data = dict(data=[dict(path=upload, meta=dict(_type='gradio.FileData')), choice])
    url = f'{page}/gradio_api/call/photograph'
    request = urllib.request.Request(url, json.dumps(data).encode(), {'Content-Type': 'application/json'})
    event = json.load(urllib.request.urlopen(request))['event_id']
    return urllib.request.urlopen(f'{url}/{event}').read().decode()


def test_a_path_of_the_server_is_no_upload(page, street):
    assert post(page, str(street)) == 'event: error\ndata: {"error": null}\n\n'
    url = f'{page}/gradio_api/file={urllib.request.pathname2url(str(street))}'
    with pytest.raises(urllib.error.HTTPError, match='403'):
        urllib.request.urlopen(url)


def test_only_what_is_offered_runs(browser, page, street):
    browser.choose('input[type=file]', street)
    browser.wait(f'{LEGEND}.length')
    upload = browser.ask("document.querySelector('[data-testid=image] img, .image-frame img').src").partition('file=')[
        2
    ]
    upload = urllib.request.url2pathname(upload)
    assert post(page, upload).startswith('event: generating\n') and 'event: complete' in post(page, upload)
    assert 'other.onnx is not offered; choose street.onnx' in post(page, upload, 'other.onnx')


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_machine_too_busy_for_a_check_of_gradio(monkeypatch, tmp_path):
    monkeypatch.setattr('gradio.networking.url_ok', lambda url: False)
    streets, port = draw_streets(tmp_path), *free_ports(1)
    page, other = (web.build({'street.onnx': lambda: None}, streets, tmp_path) for _ in range(2))
    try:
        web.launch(page, '127.0.0.1', port)
        assert urllib.request.urlopen(f'http://127.0.0.1:{port}/gradio_api/info').status == 200
        with pytest.raises(InputError, match=rf'^127.0.0.1:{port}: the page did not start; another program took the'):
            web.launch(other, '127.0.0.1', port)
    finally:
        page.close()


def test_a_port_in_use(page, file):
    port = page.rpartition(':')[2]
    done = subprocess.run([COMMAND, 'web', '--model', file, '--port', port], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ''
    reason = 'cannot be served on (Address already in use); give another --port or --host'
    assert done.stderr == f'mmseg-bisenet: error: 127.0.0.1:{port} {reason}\n'


def send(page: str, file: Path) -> str:
    """Upload a file; its path on the server."""
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n%s\r\n--b--\r\n'
    request = urllib.request.Request(f'{page}/gradio_api/upload', form % file.read_bytes())
    request.add_header('Content-Type', 'multipart/form-data; boundary=b')
    (upload,) = json.load(urllib.request.urlopen(request))
    return upload


def test_old_files_are_removed(file, street, tmp_path):
    code = """import sys
from mmseg_bisenet.cli import main
from mmseg_bisenet.predict import web
web.SWEEP, web.KEEP = 1, 10
sys.exit(main())"""
    with serving(file, tmp_path, sys.executable, '-c', code) as (page, _):
        upload = Path(send(page, street))
        assert 'event: complete' in post(page, str(upload))
        for _ in range(600):
            left = {path.name for path in upload.parents[1].rglob('*') if path.is_file()}
            if 'a.png' not in left and len(left) == 3:
                break
            time.sleep(0.1)
        assert left == {'street1.png', 'street2.png', 'street3.png'}  # to try


@pytest.fixture
def interruptible():
    """A shell's & makes its commands, and theirs, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_end_leaves_no_file(interruptible, file, street, tmp_path):
    folder = tmp_path / 'temporary'
    folder.mkdir()
    with serving(file, folder) as (page, process):
        upload = send(page, street)
        assert 'event: complete' in post(page, upload)
        (own,) = folder.iterdir()  # with ONNX Runtime's reports there would be a file of theirs
        assert own.stat().st_mode & 0o77 == 0 and Path(upload).is_relative_to(own)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == 'mmseg-bisenet: ended by Ctrl-C\n'
        assert list(folder.iterdir()) == []
