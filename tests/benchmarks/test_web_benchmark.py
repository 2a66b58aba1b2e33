"""The benchmark of the page counts what each request came to, here of a server that answers, refuses and breaks off."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread

import pytest

from benchmarks import web


class Page(BaseHTTPRequestHandler):
    """Of four requests one is answered, one is refused, one fails on the server, and one connection breaks off."""

    numbers = count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers['Content-Length']))
        if self.path == '/gradio_api/upload':
            return self._give(['a.png'])
        number = next(self.numbers) % 4
        if number == 1:
            return self._give(dict(detail='Queue is full.'), 503)
        if number < 3:
            self._give(dict(event_id=str(number)))

    def do_GET(self) -> None:
        if self.path == '/config':
            return self._give(dict(components=[dict(type='dropdown', props=dict(value='net'))]))
        self._give('event: complete' if self.path.endswith('/0') else 'event: error')

    def _give(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page():
    with ThreadingHTTPServer(('127.0.0.1', 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_each_request_is_counted(page):
    row = web.measure(page, b'png', clients=5, requests=20)
    assert [row[kind] for kind in web.KINDS] == [5, 5, 10]
    assert 0 < row['p50_s'] <= row['p99_s'] and row['images_s'] > 0


@pytest.mark.parametrize(
    'arguments, reason',
    [
        (['none.png'], 'photograph none.png cannot be read (No such file or directory); name a file'),
        (['none.png', '--clients', '0'], '--clients and --requests must be 1 or more'),
        ([__file__, '--script', 'true'], 'true web serves no page; see its message'),
    ],
)
def test_what_is_refused(capsys, arguments, reason):
    assert web.main(arguments) == 2
    assert capsys.readouterr().err == f'benchmarks.web: error: {reason}\n'
