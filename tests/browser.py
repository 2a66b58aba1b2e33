"""A headless Chromium to open a page in: the DevTools protocol over a pipe, so nothing is installed beside it."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


class Browser:
    """One page; ``events`` has what the browser told meanwhile. To be used in a ``with``.

    Args:
        profile: folder for what the browser keeps.
        flags: more of its command line.
    """

    def __init__(self, profile: Path, *flags: str) -> None:
        self.profile = profile
        self.flags = flags
        self.events = []
        self.sent = 0
        self.session = {}

    def __enter__(self) -> 'Browser':
        read_command, self.commands = os.pipe()
        self.answers, write_answer = os.pipe()
        flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--remote-debugging-pipe']
        # The browser reads descriptor 3 and writes descriptor 4, whatever they are here.
        moved = f'exec "$@" 3<&{read_command} 4>&{write_answer}'
        self.process = subprocess.Popen(
            ['bash', '-c', moved, 'bash', CHROMIUM, *flags, *self.flags, f'--user-data-dir={self.profile}'],
            pass_fds=[read_command, write_answer],
            stderr=subprocess.DEVNULL,
        )
        os.close(read_command)
        os.close(write_answer)
        self.stream = os.fdopen(self.answers, 'rb')
        self.rest = b''
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = dict(sessionId=self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId'])
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')
        return self

    def __exit__(self, *_: object) -> None:
        self.session = {}
        with suppress(EOFError, BrokenPipeError):  # it may end before it has answered
            self.call('Browser.close')
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.commands)
        self.stream.close()

    def call(self, method: str, **parameters: object) -> dict:
        """Send a command, and wait for its answer."""
        self.sent += 1
        message = dict(id=self.sent, method=method, params=parameters, **self.session)
        os.write(self.commands, json.dumps(message).encode() + b'\0')
        while True:
            message = self._receive()
            if message.get('id') == self.sent:
                assert 'error' not in message, message
                return message['result']

    def open(self, page: Path | str, width: int = 1280, dark: bool = False, height: int = 900) -> None:
        """Load a file or an address in a window of that size in CSS pixels, and wait until it is whole."""
        scheme = [dict(name='prefers-color-scheme', value='dark' if dark else 'light')]
        self.call('Emulation.setEmulatedMedia', features=scheme)
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call('Emulation.setDeviceMetricsOverride', **size)
        self.events.clear()
        self.call('Page.navigate', url=page if isinstance(page, str) else page.resolve().as_uri())
        while not any(event['method'] == 'Page.loadEventFired' for event in self.events):
            self._receive()

    def ask(self, expression: str) -> object:
        """What JavaScript gives."""
        return self.call('Runtime.evaluate', expression=expression, returnByValue=True)['result'].get('value')

    def wait(self, expression: str, seconds: float = 120) -> object:
        """What JavaScript gives, once that is neither empty nor false."""
        end = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f'after {seconds} s still nothing: {expression}'
            time.sleep(0.05)
        return value

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input of the page, as its dialog does."""
        root = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', nodeId=node, files=[str(file)])

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.call('Page.captureScreenshot', captureBeyondViewport=True)['data'])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.call('Page.printToPDF', printBackground=False, preferCSSPageSize=True)['data'])

    def _receive(self) -> dict:
        while b'\0' not in self.rest:
            assert select.select([self.answers], [], [], 60)[0], 'the browser has said nothing for a minute'
            part = os.read(self.answers, 1 << 20)
            if not part:
                raise EOFError('the browser went away')
            self.rest += part
        line, self.rest = self.rest.split(b'\0', 1)
        message = json.loads(line)
        if 'method' in message:
            self.events.append(message)
        return message
