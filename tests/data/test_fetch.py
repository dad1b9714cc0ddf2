"""A fetch goes on where it stopped, checks what arrived, unpacks it inside the root, and says what is left to do."""

import hashlib
import io
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from polyprompt.data import catalog
from polyprompt.data.entry import Download
from polyprompt.data.fetch import download, fetch
from polyprompt.errors import FileError, UnknownNameError

pytestmark = pytest.mark.outside("socket")
"""From a server in this process."""


class Server:
    """Files on a port of this machine; `cut` ends the next answer after so many bytes, `ranges` sends parts."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.ranges = True
        self.asked: list[str | None] = []
        place = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name: str, data: bytes) -> str:
        self.files[f"/{name}"] = data
        return f"http://127.0.0.1:{self.http.server_address[1]}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.headers.get("Range"))
        data, asked = self.files.get(request.path), request.headers.get("Range") if self.ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if data is None:
            request.send_error(404)
        elif asked and start >= len(data):
            request.send_error(416)
        else:
            request.send_response(206 if start else 200)
            request.send_header("Content-Length", str(len(data) - start))
            request.end_headers()
            request.wfile.write(data[start:][: self.cut])
            self.cut = None


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return buffer.getvalue()


def tarred(name: str, data: bytes, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_fetch_that_was_cut_goes_on_and_is_not_done_twice(server, tmp_path, ranges, capsys):
    data = zipped(a__1="x" * 5000, b="y")
    one = Download(url=server.url("set.zip", data), folder="set", md5=md5(data))
    server.cut, server.ranges = 100, ranges
    with pytest.raises(FileError, match=r"set.zip: cannot be fetched \(.*\). Again goes on where it stopped, or fetch"):
        download(one, tmp_path, "http://page")
    assert (tmp_path / "downloads" / "set.zip.part").stat().st_size == 100
    download(one, tmp_path)
    assert (tmp_path / "set/a/1").read_text() == "x" * 5000
    assert server.asked == [None, "bytes=100-"]
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["set.zip.unpacked"]
    download(one, tmp_path)
    assert len(server.asked) == 2
    assert "set.zip: fetched and unpacked before; to fetch it again, remove " in capsys.readouterr().err


def test_a_part_that_is_whole_already_is_checked_and_unpacked(server, tmp_path):
    data = zipped(b="y")
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/set.zip.part").write_bytes(data)
    download(Download(url=server.url("set.zip", data), sha256=hashlib.sha256(data).hexdigest()), tmp_path)
    assert (tmp_path / "b").read_text() == "y"


def test_what_arrives_must_have_the_stated_hash(server, tmp_path):
    one = Download(url=server.url("set.zip", zipped(b="other")), md5=md5(b"expected"))
    with pytest.raises(FileError, match=rf"what arrived has md5 .*, not {md5(b'expected')}; removed"):
        download(one, tmp_path)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_archives_in_archives_and_none_that_reach_outside(server, tmp_path):
    inner = tarred("101/a.jpg", b"picture")
    data = zipped(x="")
    with zipfile.ZipFile(buffer := io.BytesIO(data), "a") as archive:
        archive.writestr("caltech-101/inner.tar.gz", inner)
    url = server.url("caltech.zip", buffer.getvalue())
    download(Download(url=url, inner=("caltech-101/inner.tar.gz",)), tmp_path)
    assert (tmp_path / "caltech-101/101/a.jpg").read_bytes() == b"picture"
    with pytest.raises(FileError, match="cannot be unpacked"):
        download(Download(url=server.url("bad.tar.gz", tarred("../../out", b"x"))), tmp_path / "root")
    assert not (tmp_path.parent / "out").exists()
    with pytest.raises(FileError, match="cannot be unpacked"):
        download(Download(url=server.url("no.tar", b"no archive")), tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "zip", "password", "page"])
def test_a_damaged_archive_is_told_in_one_line(server, tmp_path, mode):
    noise = random.Random(0).randbytes(20_000)
    data = bytearray(
        zipped(b=noise.hex()) if mode in ("zip", "password") else tarred("b", noise, mode.replace("page", "w"))
    )
    if mode == "password":
        data[6] |= 1
        data[data.find(b"PK\1\2") + 8] |= 1
    elif mode == "page":
        data = bytearray(b"<html>Sign in first</html>")
    else:
        data[9_000:9_004] = bytes(255 - byte for byte in data[9_000:9_004])
    with pytest.raises(
        FileError, match=r"/downloads/x: cannot be unpacked \([^\n]*\). Remove it and fetch it again\.$"
    ):
        download(Download(url=server.url("x", bytes(data))), tmp_path)
    assert not (tmp_path / "downloads/x.unpacked").exists()


def test_a_file_that_is_not_there_and_a_server_that_is_not(server, tmp_path):
    url = server.url("x", b"").replace("/x", "/gone.zip")
    with pytest.raises(FileError, match=r"gone.zip: cannot be fetched \(HTTP 404 Not Found\)"):
        download(Download(url=url), tmp_path)
    with pytest.raises(FileError, match=r"cannot be fetched \(.*refused"):
        download(Download(url="http://127.0.0.1:9/x.zip"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        download(Download(url=url), tmp_path / "file")


def test_steps_are_said_where_nothing_can_be_fetched(tmp_path):
    lines = fetch("imagenet", tmp_path)
    assert lines[0] == "ImageNet (Russakovsky et al. 2015), 1,000 classes: https://image-net.org/download.php"
    assert "Its page asks for a form or an account." in lines
    assert any("ILSVRC2012_img_val.tar" in line for line in lines)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnknownNameError, match="Did you mean 'imagenet'"):
        fetch("imagenett", tmp_path)


def test_what_is_fetched_lands_where_it_is_looked_for():
    """The folder of each download, or the one that its archive is known to hold, is one of the set's."""
    for name in catalog.names():
        entry = catalog.entry(name)
        for one in entry.downloads:
            assert one.folder in ("", "caption_datasets", *entry.folders)
            assert one.url.startswith(("http://", "https://"))
