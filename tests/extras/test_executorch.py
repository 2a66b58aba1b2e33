"""The extra `executorch`: the shipped model as a program. `make test-extras` runs this in an environment of its own."""

import pytest
import torch
from extras.shipped import check, export, labels_in_another_process, of_another_program

from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.backends import RUNTIMES
from mmseg_bisenet.errors import InputError


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    return export('executorch', tmp_path_factory.mktemp('exported'))


def test_the_shipped_model_is_right(file, capsys):
    check(file, 'executorch', 'fp32', 1, capsys)


def test_it_runs_in_another_process(file, tmp_path):
    assert labels_in_another_process(file, tmp_path)  # its bindings need PyTorch


def test_the_number_of_threads_is_that_of_the_first(file):
    threads = RUNTIMES['executorch']._threads or torch.get_num_threads()
    assert load(file, threads=threads).runtime == 'executorch'
    torch.set_num_threads(threads + 1)
    assert load(file).runtime == 'executorch'
    with pytest.raises(InputError, match=rf'threads={threads + 1}: this process runs executorch in {threads}, as it '):
        load(file, threads=threads + 1)


def test_a_file_of_another_program(file, tmp_path):
    with pytest.raises(InputError, match=r'\.pte does not load in executorch \(Failed to load program'):
        load(of_another_program(file, tmp_path))
