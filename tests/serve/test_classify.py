"""Classes of pictures that are sent, or lie in a collection."""

import torch
from asking import close, search
from toy_encoders import toy_encoder
from toy_server import uri

from polyprompt.adapt.engine import build
from polyprompt.media.pictures import open_picture
from polyprompt.methods import config_of


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
