"""A server over twelve pictures and a toy model, asked in this process."""

import threading

import pytest
from fastapi.testclient import TestClient
from toy_server import embedder, write_photos

from polyprompt.search.candidates import in_folder
from polyprompt.search.collection import Collection
from polyprompt.search.fill import index
from polyprompt.serve.app import make_app
from polyprompt.serve.served import ServedCollection, ServedModel, Service


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Twelve coloured squares, each a little different."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


@pytest.fixture(scope="session", params=["campe"])
def service(request, photos, tmp_path_factory):
    """The squares as "photos", and their model as "toy"."""
    model = embedder(request.param)
    folder = tmp_path_factory.mktemp("collections") / "photos"
    index(model, in_folder(photos), str(photos), folder)
    served = ServedModel("toy", model, threading.Lock())
    service = Service({"toy": served}, {"photos": ServedCollection("photos", Collection(folder), served)})
    yield service
    service.close()


@pytest.fixture
def client(service):
    """Asks from this machine."""
    return TestClient(make_app(service), base_url="http://localhost", raise_server_exceptions=False)
