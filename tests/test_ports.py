import sys
from pathlib import Path

import pytest
from ports import SHARE, free_ports


@pytest.mark.skipif(sys.platform != 'linux', reason='ip_local_port_range is of Linux')
def test_the_system_gives_none_of_them_by_itself():
    low, _ = map(int, Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split())
    assert max(free_ports(SHARE // 2)) < low


def test_each_call_gives_others():
    first, second = free_ports(20), free_ports(20)
    assert len({*first, *second}) == 40
