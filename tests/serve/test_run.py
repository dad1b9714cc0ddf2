"""A host that is safe, a port that is free."""

import pytest
from asking import TOKEN

from polyprompt.errors import ConfigError
from polyprompt.serve.run import bound, check_host


def test_hosts_beyond_this_machine_need_a_token():
    check_host("127.0.0.1", None)
    check_host("0.0.0.0", TOKEN)
    for host, token, message in (
        ("0.0.0.0", None, "so a token is needed"),
        ("192.168.1.2", None, "so a token is needed"),
        ("localhost", "short", "at least 12"),
        ("localhost", 'quoted"quoted"quoted', "without spaces and quotes"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_host(host, token)


@pytest.mark.outside("socket")
def test_a_port_in_use_is_told():
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf":{port}: cannot be listened to .* --port 0 takes any"):
            bound("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"no such host.*cannot be listened to"):
        bound("no such host", 0)
