"""How a toy server is asked, and its answers compared."""

import threading
from contextlib import contextmanager
from dataclasses import replace

import torch
import uvicorn
from fastapi.testclient import TestClient

from polyprompt.serve.app import make_app
from polyprompt.serve.run import IDLE, bound
from polyprompt.serve.served import Service

TOKEN = "a-long-enough-token"


def close(found, wanted):
    torch.testing.assert_close(torch.as_tensor(found), wanted, rtol=1e-4, atol=1e-4)


def search(client, **asked):
    answer = client.post("/search", json={"collection": "photos"} | asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def of_collection(service, collection):
    """A client of a server that has another collection for its photos."""
    collections = {"photos": replace(service.collections["photos"], collection=collection)}
    return TestClient(
        make_app(Service(service.models, collections)), base_url="http://localhost", raise_server_exceptions=False
    )


@contextmanager
def listening(app):
    """The app on a free port of this machine: its address."""
    with bound("127.0.0.1", 0) as at:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=IDLE))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{at.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
