"""A stand-in for the Hugging Face hub: what huggingface_hub's client asks of it to push a model and fetch it again.

Repositories live in memory, each a list of commits, {path: bytes}. Safetensors come as LFS objects, as there.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "a" * 34


class Hub(ThreadingHTTPServer):
    """Its content, and what was asked of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.served: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repo: str, revision: str) -> dict[str, bytes]:
        """The newest commit, or the one that is named; none is there for another name."""
        commits = self.repositories[repo]
        if revision == "main":
            return commits[-1]
        return next(files for number, files in enumerate(commits) if commit(repo, number) == revision)


def commit(repo: str, number: int) -> str:
    """The name of a commit."""
    return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        """Nothing."""

    def answer(self, code: int, content: object = None, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, code: str) -> None:
        self.answer(404, {"error": code}, X_Error_Code=code)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def may(self, repo: str) -> bool:
        return repo not in self.server.private or self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        match unquote(urlsplit(self.path).path).strip("/").split("/"):
            case ["api", "models", owner, name, kind, revision]:
                self.of(f"{owner}/{name}", revision, lambda files: self.described(f"{owner}/{name}", kind, files))
            case ["api", "models", owner, name]:
                self.of(f"{owner}/{name}", "main", lambda files: self.described(f"{owner}/{name}", "revision", files))
            case [owner, name, "resolve", revision, *path]:
                self.of(f"{owner}/{name}", revision, lambda files: self.file(f"{owner}/{name}", "/".join(path), files))
            case _:
                self.missing("EntryNotFound")

    def of(self, repo: str, revision: str, then) -> None:
        if repo not in self.server.repositories or not self.may(repo):
            return self.missing("RepoNotFound")
        try:
            files = self.server.files(repo, revision)
        except StopIteration:
            return self.missing("RevisionNotFound")
        return then(files)

    def named(self, repo: str, files: dict[str, bytes]) -> str:
        return commit(repo, self.server.repositories[repo].index(files))

    def described(self, repo: str, kind: str, files: dict[str, bytes]) -> None:
        if kind == "tree":
            rows = [
                {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for path, data in files.items()
            ]
            return self.answer(200, rows)
        siblings = [{"rfilename": path} for path in files]
        return self.answer(200, {"id": repo, "sha": self.named(repo, files), "siblings": siblings, "private": False})

    def file(self, repo: str, path: str, files: dict[str, bytes]) -> None:
        if path not in files:
            return self.missing("EntryNotFound")
        if self.command == "GET":
            self.server.served.append(path)
        tag = f'"{hashlib.sha256(files[path]).hexdigest()}"'
        return self.answer(200, files[path], ETag=tag, X_Repo_Commit=self.named(repo, files))

    def do_PUT(self) -> None:
        self.server.objects[self.path.rsplit("/", 1)[-1]] = self.body()
        self.answer(200)

    def do_POST(self) -> None:
        data = self.body()
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts != ["api", "validate-yaml"] and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        match parts:
            case ["api", "validate-yaml"]:
                return self.answer(200, {"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                facts = json.loads(data)
                repo = f"{facts.get('organization') or 'me'}/{facts['name']}"
                if repo in self.server.repositories:
                    return self.answer(409, {"error": "exists", "url": f"{self.server.address}/{repo}"})
                self.server.repositories[repo] = [{}]
                if facts.get("private") or facts.get("visibility") == "private":
                    self.server.private.add(repo)
                return self.answer(200, {"url": f"{self.server.address}/{repo}", "name": repo})
            case ["api", "models", _, _, "preupload", _]:
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(data)["files"]
                ]
                return self.answer(200, {"files": files})
            case [_, _, "info", "lfs", "objects", "batch"]:
                upload = f"{self.server.address}/lfs/"
                objects = [
                    {**one, "actions": {"upload": {"href": upload + one["oid"]}}} for one in json.loads(data)["objects"]
                ]
                return self.answer(200, {"transfer": "basic", "objects": objects})
            case ["api", "models", owner, name, "commit", _]:
                return self.committed(f"{owner}/{name}", [json.loads(line) for line in data.splitlines()])
        return self.missing("EntryNotFound")

    def committed(self, repo: str, lines: list[dict]) -> None:
        files = dict(self.server.repositories[repo][-1])
        for line in lines:
            match line:
                case {"key": "file", "value": {"path": path, "content": content}}:
                    files[path] = base64.b64decode(content)
                case {"key": "lfsFile", "value": {"path": path, "oid": oid}}:
                    files[path] = self.server.objects[oid]
                case {"key": "deletedFile", "value": {"path": path}}:
                    del files[path]
        self.server.repositories[repo].append(files)
        name = self.named(repo, files)
        url = f"{self.server.address}/{repo}/commit/{name}"
        self.answer(200, {"commitUrl": url, "commitOid": name, "success": True})


@contextmanager
def toy_hub() -> Iterator[Hub]:
    """The stand-in, answering."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
