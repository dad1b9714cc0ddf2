"""Embeddings are the model's own, in OpenAI's shape."""

import base64

import numpy as np
import pytest
import torch
from asking import close
from toy_server import uri

from polyprompt.media.pictures import open_picture


def test_embeddings_are_the_models_own(client, service, photos):
    model = service.models["toy"].embedder
    file = photos / "red-0.png"
    asked = ["a red square", {"image": uri(file)}, {"text": "blue"}, uri(photos / "blue-2.png"), "/etc/passwd"]
    answer = client.post("/v1/embeddings", json={"model": "toy", "input": asked}).json()
    assert [one["index"] for one in answer["data"]] == list(range(5))
    rows = torch.tensor([one["embedding"] for one in answer["data"]])
    texts = model.texts(["a red square", "blue", "/etc/passwd"])  # what looks like a path is a text
    pixels = torch.stack([model.preprocess(open_picture(photos / name)) for name in ("red-0.png", "blue-2.png")])
    close(rows[[0, 2, 4]], texts)
    close(rows[[1, 3]], model.images(pixels))
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 3
    packed = client.post("/v1/embeddings", json={"model": "toy", "input": "blue", "encoding_format": "base64"}).json()
    row = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    close(row.copy(), texts[1])
    as_image = client.post("/v1/embeddings", json={"model": "toy", "input": uri(file), "modality": "image"}).json()
    close(as_image["data"][0]["embedding"], rows[1])
    as_text = client.post("/v1/embeddings", json={"model": "toy", "input": uri(file)[:99], "modality": "text"}).json()
    close(as_text["data"][0]["embedding"], model.texts([uri(file)[:99]])[0])


@pytest.mark.parametrize("service", ["campe", "clip"], indirect=True)
def test_texts_that_are_longer_than_the_model_reads_are_told(client, photos):
    asked = ["a red square", "a red square " * 200, uri(photos / "red-0.png"), "blue " * 500]
    answer = client.post("/v1/embeddings", json={"model": "toy", "input": asked}).json()
    assert answer["cut"] == [1, 3]
    assert len(answer["data"]) == 4
    assert client.post("/v1/embeddings", json={"model": "toy", "input": "blue"}).json()["cut"] == []

    long, row = "a red square " * 150, {"collection": "photos"}
    for asked, cut in (
        ({"text": long}, ["text"]),
        ({"text": "blue", "not": ["red", long]}, ["not.1"]),
        ({"text": "blue"}, []),
        ({}, []),
    ):
        assert client.post("/search", json=row | asked).json()["cut"] == cut
    marks = {"right": [0], "wrong": [1]}
    learned = client.post("/collections/photos/adapt", json=marks | {"text": long}).json()
    assert learned["cut"] == ["text"]
    assert client.post("/search", json=row | {"adapted": learned["id"]}).json()["cut"] == []
    assert client.post("/collections/photos/adapt", json=marks).json()["cut"] == []


@pytest.mark.parametrize("service", ["campe", "clip"], indirect=True)
def test_labels_that_are_longer_than_the_model_reads_are_told(client, photos):
    labels = ["red", "é" * 200, "blue"]  # two tokens a letter
    asked = {"model": "toy", "input": [uri(photos / "red-0.png")], "labels": labels}
    assert client.post("/classify", json=asked).json()["cut"] == [1]
    assert client.post("/collections/photos/classify", json={"rows": [0], "labels": labels}).json()["cut"] == [1]


@pytest.mark.parametrize("service", ["bmip"], indirect=True)
def test_pictures_that_are_sent_together_are_seen_alone(client, service, photos):
    """By a method whose training mixes a batch's pictures, too."""
    files = [photos / name for name in ("red-0.png", "blue-2.png", "white-3.png")]

    def sent(*files):
        answer = client.post("/v1/embeddings", json={"model": "toy", "input": [uri(file) for file in files]})
        return torch.tensor([one["embedding"] for one in answer.json()["data"]])

    together = sent(*files)
    close(together, torch.cat([sent(file) for file in files]))
    model = service.models["toy"].embedder
    pixels = torch.stack([model.preprocess(open_picture(file)) for file in files])
    model.method.train()
    mixed = model.images(pixels)
    model.method.eval()
    assert not torch.allclose(together, mixed, atol=1e-3)


def test_models_and_collections_are_told_by_id_and_never_by_place(client, photos):
    assert client.get("/v1/models").json()["data"][0]["id"] == "toy"
    answer = client.get("/collections")
    (one,) = answer.json()["data"]
    assert (one["id"], one["model"], one["pictures"]) == ("photos", "toy", 12)
    assert len(one["aspects"]) == 3
    assert str(photos.parent) not in answer.text
