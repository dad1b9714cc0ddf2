"""serve as the shell calls it: what it refuses in one line, and what it answers."""

import json
import socket
import time
import urllib.request

import pytest


@pytest.mark.outside("socket")
def test_what_cannot_be_served(photos, polyprompt):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, message in {
            ("serve", photos, "--host", "0.0.0.0"): "so a token is needed: --token, or POLYPROMPT_TOKEN",
            ("serve", photos, "--host", "0.0.0.0", "--token", "short"): "at least 12 letters",
            ("serve", photos, "--port", port): "Another program listens there; --port 0 takes any free one",
            ("serve", photos, "--port", 0): "photos",  # no collection, and no run
            ("serve", "collections/none", "--port", 0): "Nor is there a folder of this name.",
            ("serve", photos, photos.parent / "photo", "--port", 0): "/photo: no such file or folder. Did you mean '",
        }.items():
            code, _, err = polyprompt(*words)
            assert (code, err.count("Traceback")) == (2, 0), words
            assert message in err.splitlines()[-1], err


@pytest.mark.slow
def test_a_collection_is_served_until_the_command_is_ended(clip, photos, tmp_path, polyprompt, program):
    code, _, err = polyprompt("index", clip, photos, "--out", tmp_path / "squares")
    assert code == 0, err
    process = program("serve", tmp_path / "squares", "--port", 0, PYTHONUNBUFFERED="1")
    address = process.stdout.readline().split()[1]
    asked = json.dumps({"collection": "squares", "text": "red", "top": 3}).encode()
    request = urllib.request.Request(f"{address}/search", asked, {"Content-Type": "application/json"})
    until = time.monotonic() + 60
    with urllib.request.urlopen(request, timeout=until - time.monotonic()) as answer:
        assert len(json.load(answer)["data"]) == 3
    process.send_signal(2)
    assert process.wait(120) == 130
    assert "Traceback" not in process.stderr.read()
