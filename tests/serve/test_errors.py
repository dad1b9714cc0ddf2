"""What is refused is told in OpenAI's shape."""

import json

from PIL import Image
from toy_server import uri

from polyprompt.serve import pictures


def test_what_is_refused_is_told_in_openais_shape(client, photos):
    picture = uri(photos / "red-0.png")
    wide = Image.new("1", (pictures.PIXELS // 100, 101))
    # half characters stay escaped in JSON
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
        (
            "/classify",
            {"model": "toy", "input": [picture], "labels": ["a", "A"]},
            400,
            "labels",
            "'a' and 'A' have one",
        ),
        ("/search", {"collection": "photos", "adapted": "x", "text": "a"}, 400, "text", "text or adapted"),
        ("/collections/photos/adapt", {"text": "a", "right": [1], "wrong": [1]}, 400, "wrong", "right and wrong"),
        ("/collections/photos/adapt", {"text": "a", "right": [1], "wrong": []}, 400, "wrong", "at least 1"),
        ("/nowhere", {}, 404, None, "Not Found"),
    ):
        answer = client.post(path, content=json.dumps(asked), headers={"content-type": "application/json"})
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
