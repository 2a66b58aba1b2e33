"""What restores global state around tests and shared fixtures (global_state.py)."""

import os

import pytest
from global_state import kept


def test_what_was_left_is_named_and_restored():
    with pytest.raises(pytest.fail.Exception, match=r'^left changed: environment variables: LEFT$'), kept():
        os.environ['LEFT'] = '1'
    assert 'LEFT' not in os.environ


def test_a_failure_is_reported_itself_and_leaves_nothing():
    with pytest.raises(KeyError, match='itself'), kept():
        os.environ['LEFT'] = '1'
        raise KeyError('itself')
    assert 'LEFT' not in os.environ
