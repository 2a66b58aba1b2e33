"""Windows are tried in another process."""

import signal

import pytest

from mmseg_bisenet import display
from mmseg_bisenet.display import require_window
from mmseg_bisenet.errors import InputError


@pytest.mark.parametrize(
    ('code', 'reason'),
    [
        ("raise OSError('no display')", 'OSError: no display'),
        ("sys.exit('no toolkit')", 'no toolkit'),
        (f"import os; os.write(2, b'first\\nsecond'); os.kill(os.getpid(), {signal.SIGABRT:d})", 'first'),
        (f'import os; os.kill(os.getpid(), {signal.SIGABRT:d})', 'no reason'),
        ('import time; time.sleep(60)', 'no answer within 1 s'),
    ],
)
def test_the_reason_is_named(code, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(display, 'SECONDS', 1 if 'answer' in reason else 20)
    with pytest.raises(InputError) as caught:
        require_window(code, 'use something else')
    assert str(caught.value) == f'--show cannot open a window ({reason}); use something else'
    assert not list(tmp_path.iterdir())  # no core file


def test_the_modules_are_those_of_this_process(tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    (tmp_path / 'opener.py').write_text('def window(): pass')
    (tmp_path / 'here/json.py').write_text('raise SystemExit(1)')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path / 'here')
    require_window('import json, opener; opener.window()', '')
