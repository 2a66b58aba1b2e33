"""The steps of gpu.sh: their order, and what failures and the time limit cost. A stand-in for Python runs nothing."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    """Runs the script, and returns its exit status, the lines that name failures, and the steps that began."""
    log = tmp_path / 'log'
    python = tmp_path / 'python'
    python.write_text(
        f'#!/usr/bin/env bash\necho "${{@:2}}" >> {log}\n'
        'case "$*" in *roofline*bisenetv1_r18*) exit 3 ;; *r18*1024*) [ -z "$SLOW" ] || exec sleep 60 ;; esac\n'
    )
    python.chmod(0o755)

    def run(*arguments: str, **variables: str) -> tuple[int, list[str], list[str]]:
        log.write_text('')
        environment = os.environ | dict(PYTHON=str(python), RESULTS=str(tmp_path)) | variables
        result = subprocess.run(
            ['bash', ROOT / 'benchmarks/gpu.sh', *arguments], env=environment, capture_output=True, text=True
        )
        return result.returncode, result.stderr.splitlines(), log.read_text().splitlines()

    return run


def test_the_most_valuable_steps_come_first_and_a_failure_stops_none(run):
    status, failures, steps = run('h100')
    assert [' '.join(step.split()[:3]) for step in steps[:3]] == [
        'pytest -m gpu',
        'mmseg_bisenet.cli benchmark bisenetv2_camvid',
        'mmseg_bisenet.cli benchmark bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024',
    ]
    assert [step.split()[0] for step in steps].count('benchmarks.roofline') == 8
    assert steps[-1].startswith('benchmarks.scaling')
    files = [step.split('--csv ')[1].split()[0] for step in steps if '--csv' in step]
    assert len(set(files)) == len(files) and all(file.endswith('_h100.csv') for file in files)
    assert status == 1
    assert [line.split(' --')[0] for line in failures] == [
        'failed: python -m benchmarks.roofline bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'
    ] * 2


def test_what_time_cuts_off_and_does_not_reach_is_named(run):
    status, failures, steps = run('h100', 'training', 'loader', TIME='5', SLOW='1')
    assert status == 1
    assert [step.split()[0] for step in steps] == ['benchmarks.training'] * 3
    assert [line.split(' ')[:2] + line.split(' ')[4:5] for line in failures] == [
        ['cut', 'off:', 'benchmarks.training'],
        ['no', 'time:', 'benchmarks.training'],
        ['no', 'time:', 'benchmarks.loss'],
        ['no', 'time:', 'mmseg_bisenet.cli'],
        *[['no', 'time:', 'benchmarks.scaling']] * 2,
    ]


def test_only_what_is_asked_for(run):
    assert [step.split()[0] for step in run('h100', 'tests', SMALL='1')[2]] == ['pytest']
    assert run('h100', 'everything')[:2] == (
        2,
        ['everything is not known; give tests, runtimes, training, roofline, loader, speed, accuracy or push'],
    )
