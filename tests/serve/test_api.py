"""What the API answers, compared with the model and the collection asked directly; and what it refuses."""

import base64
import io
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from toy_encoders import toy_encoder
from toy_server import uri

from polyprompt.adapt.engine import build
from polyprompt.media.pictures import open_picture
from polyprompt.methods import config_of
from polyprompt.nn.segments import segment_scores
from polyprompt.search.collection import Collection
from polyprompt.serve import pictures
from polyprompt.serve.app import make_app
from polyprompt.serve.served import Service


def close(found, wanted):
    torch.testing.assert_close(torch.as_tensor(found), wanted, rtol=1e-4, atol=1e-4)


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


def test_models_and_collections_are_told_by_id_and_never_by_place(client, photos):
    assert client.get("/v1/models").json()["data"][0]["id"] == "toy"
    answer = client.get("/collections")
    (one,) = answer.json()["data"]
    assert (one["id"], one["model"], one["pictures"]) == ("photos", "toy", 12)
    assert len(one["aspects"]) == 3
    assert str(photos.parent) not in answer.text


def search(client, **asked):
    answer = client.post("/search", json={"collection": "photos"} | asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_search_by_text_picture_and_both_with_what_is_not_wanted(client, service, photos):
    model, vectors = service.models["toy"].embedder, service.collections["photos"].collection.vectors
    images = vectors.take(np.arange(12))
    text, other = model.texts(["red", "blue"])
    pixels = model.preprocess(open_picture(photos / "green-1.png"))[None]
    like = model.images(pixels)[0]
    normal = torch.nn.functional.normalize
    for asked, query in (
        ({"text": "red"}, text),
        ({"text": "red", "not": ["blue"]}, normal(text - 0.5 * other, dim=0)),
        ({"text": "red", "like": [uri(photos / "green-1.png")]}, normal((text + like) / 2, dim=0)),
        ({"like_rows": [3]}, images[3]),
    ):
        hits = search(client, top=11, **asked)
        scores = images @ query
        close([hit["score"] for hit in hits], scores[[hit["row"] for hit in hits]])
        left_out = set(range(12)) - {hit["row"] for hit in hits}
        if "like" in asked or "like_rows" in asked:  # the query picture itself is not shown
            assert [vectors.find(vectors.key(row)) for row in left_out] == list(left_out)
            assert len(left_out) == 1
        else:
            assert left_out == {int(scores.argmin())}
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_weights_change_scores_and_filters_leave_out(client, service):
    model, vectors = service.models["toy"].embedder, service.collections["photos"].collection.vectors
    (text,) = model.texts(["red"])
    parts = segment_scores(text.view(1, 3, -1), vectors.take(np.arange(12)).view(12, 3, -1))[0]
    for hit in search(client, text="red", weights=[2, 0, 1], top=12):
        close(list(hit["aspects"].values()), parts[hit["row"]] * torch.tensor([2.0, 0, 1]))
        assert hit["score"] == pytest.approx(sum(hit["aspects"].values()), abs=1e-5)
    hits = search(client, text="red", where="name like 'blue%'")
    assert sorted(hit["name"] for hit in hits) == ["blue-10.png", "blue-2.png", "blue-6.png"]
    listed = search(client, where="name like 'blue%'", top=2)
    assert [(hit["score"], hit["name"][:4]) for hit in listed] == [(None, "blue")] * 2


def test_pictures_large_and_small_and_where_aspects_look(client, service, photos):
    row = search(client, where="name = 'red-0.png'")[0]["row"]
    for kind in ("thumbnails", "pictures"):
        answer = client.get(f"/collections/photos/{kind}/{row}")
        assert answer.headers["content-type"] == "image/jpeg"
        shown = np.asarray(open_picture(answer.content), np.float64)
        assert abs(shown - np.asarray(open_picture(photos / "red-0.png"), np.float64)).mean() < 25
    looks = client.get(f"/collections/photos/attention/{row}").json()
    assert [look["aspect"] for look in looks["data"]] == list(service.models["toy"].embedder.prompts)
    seen = pictures.opened(pictures.bytes_of(looks["data"][0]["image"], "x"), "x")
    assert seen.size == (64, 64)


def test_a_file_that_changed_since_is_not_shown(client, photos, tmp_path):
    """One that leads elsewhere now, say."""
    row = search(client, where="name = 'red-0.png'")[0]["row"]
    photo, aside = photos / "red-0.png", tmp_path / "red-0.png"
    Image.new("RGB", (32, 32), "black").save(tmp_path / "secret.png")
    photo.rename(aside)
    try:
        photo.symlink_to(tmp_path / "secret.png")
        shown = client.get(f"/collections/photos/pictures/{row}").content
    finally:
        aside.replace(photo)
    assert np.asarray(open_picture(shown)).mean() > 40  # the thumbnail


def of_collection(service, collection):
    """A client of a server that has another collection for its photos."""
    collections = {"photos": replace(service.collections["photos"], collection=collection)}
    return TestClient(
        make_app(Service(service.models, collections)), base_url="http://localhost", raise_server_exceptions=False
    )


def test_damage_that_a_server_meets_is_told_to_its_log_alone(service, tmp_path, capsys):
    collection = Collection(shutil.copytree(service.collections["photos"].collection.folder, tmp_path / "photos"))
    shutil.rmtree(tmp_path / "photos" / "thumbnails")
    client = of_collection(service, collection)
    answer = client.get("/collections/photos/thumbnails/0")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert str(collection.folder) not in answer.text
    assert f"{collection.folder / 'thumbnails'}: 1 missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cut", "asked"),
    [("index/*.sqlite", {"where": "size > 0"}), ("rows/*.safetensors", {}), ("rows/*.safetensors", {"like_rows": [0]})],
)
def test_a_file_that_is_cut_under_a_server_is_a_503(cut, asked, service, tmp_path, capsys):
    folder = shutil.copytree(service.collections["photos"].collection.folder, tmp_path / "photos")
    client = of_collection(service, Collection(folder))
    asked = {"collection": "photos", "text": "red"} | asked
    assert client.post("/search", json=asked).status_code == 200
    (path,) = folder.glob(cut)
    os.truncate(path, 0)
    answer = client.post("/search", json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert str(tmp_path) not in answer.text
    assert path.name not in answer.text
    assert f"{path}: " in capsys.readouterr().err


def test_classes_are_zero_shots(client, service, photos):
    encoder = toy_encoder("campe")
    names = ["red_square", "a blue thing", "nothing"]
    plain = build(config_of("zeroshot")(), encoder, names)
    pixels = torch.stack([encoder.image.preprocess(open_picture(photos / f"{n}.png")) for n in ("red-0", "blue-2")])
    wanted = plain.logits(plain.see(pixels)).softmax(dim=1)
    asked = {"model": "toy", "input": [uri(photos / "red-0.png"), uri(photos / "blue-2.png")], "labels": names}
    answer = client.post("/classify", json=asked)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    for row, found in zip(wanted, data, strict=True):
        by_label = {one["label"]: one["score"] for one in found}
        close([by_label[name] for name in names], row.detach())
        assert found[0]["label"] == names[int(row.argmax())]
    rows = [search(client, where=f"name = '{n}.png'")[0]["row"] for n in ("red-0", "blue-2")]
    again = client.post("/collections/photos/classify", json={"rows": rows, "labels": names}).json()["data"]
    close([one["score"] for one in again[1]], torch.tensor([one["score"] for one in data[1]]))


@pytest.mark.parametrize("service", ["clip", "campe"], indirect=True)
def test_marks_move_the_query_towards_right_and_away_from_wrong(client, service):
    rows = {hit["name"]: hit["row"] for hit in search(client)}
    right = [row for name, row in rows.items() if name.startswith("green")]
    wrong = [row for name, row in rows.items() if name.startswith(("red", "white"))]
    marks = {"text": "zebra", "right": right[:2], "wrong": wrong}
    learned = client.post("/collections/photos/adapt", json=marks)
    assert learned.status_code == 200, learned.text
    hits = search(client, adapted=learned.json()["id"], top=12)
    vectors = service.collections["photos"].collection.vectors.take(np.arange(12))
    good, bad = vectors[right[:2]].mean(dim=0), vectors[wrong].mean(dim=0)
    query = service.models["toy"].embedder.texts(["zebra"])[0] + 0.5 * good / good.norm() - 0.25 * bad / bad.norm()
    close([hit["score"] for hit in hits], (vectors @ query / query.norm())[[hit["row"] for hit in hits]])
    before = [hit["row"] for hit in search(client, text="zebra", top=12)]
    after = [hit["row"] for hit in hits]
    gain = [before.index(row) - after.index(row) for row in right]
    assert sum(gain) >= 0
    assert max(after.index(row) for row in right[:2]) < 6


def test_what_is_refused_is_told_in_openais_shape(client, photos):
    picture = uri(photos / "red-0.png")
    wide = Image.new("1", (pictures.PIXELS // 100, 101))
    for path, asked, status, param, message in (
        ("/v1/embeddings", {"model": "gpt", "input": "a"}, 404, "model", "no model is called 'gpt'"),
        ("/v1/embeddings", {"input": "a"}, 400, "model", "Field required"),
        ("/v1/embeddings", {"model": "toy", "input": []}, 400, "input", "at least 1 item"),
        ("/v1/embeddings", {"model": "toy", "input": ["a"] * 257}, 400, "input", "at most 256"),
        ("/v1/embeddings", {"model": "toy", "input": [1, 2]}, 400, "input.0", "token ids are not read"),
        ("/v1/embeddings", {"model": "toy", "input": " "}, 400, "input", "a text is empty"),
        ("/v1/embeddings", {"model": "toy", "input": ["a", "\ud800"]}, 400, "input.1", "half a character"),
        ("/v1/embeddings", {"model": "toy", "input": "a" * 8001}, 400, "input", "8,000 letters"),
        ("/v1/embeddings", {"model": "toy", "input": [picture] * 65}, 400, "input", "64 pictures"),
        ("/v1/embeddings", {"model": "toy", "input": [{"image": "http://a.b/c.png"}]}, 400, "input.0", "nothing is"),
        ("/v1/embeddings", {"model": "toy", "input": [{"image": "/etc/passwd"}]}, 400, "input.0", "nothing is fetched"),
        ("/v1/embeddings", {"model": "toy", "input": "data:image/png;base64,!!"}, 400, "input", "no base64"),
        ("/v1/embeddings", {"model": "toy", "input": "data:image/png;base64,bm9uZQ=="}, 400, "input", "not a picture"),
        ("/v1/embeddings", {"model": "toy", "input": uri(wide)}, 400, "input", "pixels"),
        ("/v1/embeddings", {"model": "toy", "input": "a", "dimensions": 8}, 400, "dimensions", "24 numbers"),
        ("/search", {"collection": "none", "text": "a"}, 404, "collection", "there are: photos"),
        ("/search", {"collection": "photos", "txt": "a"}, 400, "txt", "Extra inputs"),
        ("/search", {"collection": "photos", "text": "a", "weights": [1]}, 400, None, "1 aspect weights for 3 prompts"),
        ("/search", {"collection": "photos", "text": "a", "weights": [1e39, 1, 1]}, 400, "weights.0", "less than"),
        ("/search", {"collection": "photos", "weights": [1, 1, 1]}, 400, "text", "nothing is wanted"),
        ("/search", {"collection": "photos", "text": "a", "where": "yeer > 1"}, 400, None, "Did you mean 'year'?"),
        ("/search", {"collection": "photos", "like_rows": [99]}, 404, "row", "no row 99"),
        ("/search", {"collection": "photos", "adapted": "x"}, 404, "adapted", "no adaptation is called"),
        ("/search", {"collection": "photos", "text": "a", "top": 10**6}, 400, "top", "1000"),
        ("/classify", {"model": "toy", "input": [picture], "labels": ["a"]}, 400, "labels", "at least 2"),
        ("/collections/photos/adapt", {"text": "a", "right": [1], "wrong": [1]}, 400, "wrong", "right and wrong"),
        ("/collections/photos/adapt", {"text": "a", "right": [1], "wrong": []}, 400, "wrong", "at least 1"),
        ("/nowhere", {}, 404, None, "Not Found"),
    ):
        answer = client.post(path, content=jsonable(asked), headers={"content-type": "application/json"})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error"), (
            answer.text
        )
        assert message in error["message"]
        assert "/tmp" not in answer.text
    assert client.get("/collections/photos/thumbnails/99").status_code == 404
    for body in (b"{", b"[" * 100_000, b"\xff", b""):
        answer = client.post("/search", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, set(answer.json())) == (400, {"error"})


def jsonable(asked):
    return json.dumps(asked)  # half characters stay escaped


def test_a_truncated_picture_spoils_no_other_request(client, photos):
    data = io.BytesIO()
    open_picture(photos / "red-0.png").save(data, "JPEG")
    cut = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()[:400]).decode()
    answer = client.post("/search", json={"collection": "photos", "like": [cut]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")
