"""What is served: ids that name no place, each model once, what was learned, and what each kind of model gives."""

import asyncio
import io
import math
import threading

import pytest
import torch
from PIL import Image
from toy_encoders import toy_encoder
from toy_server import embedder

from polyprompt.errors import ConfigError
from polyprompt.media.pictures import MAX_PIXELS
from polyprompt.search.candidates import in_folder
from polyprompt.search.fill import index
from polyprompt.search.models import PlainEmbedder
from polyprompt.serve.errors import Refused
from polyprompt.serve.served import LEARNED, ServedCollection, ServedModel, called, free, open_service


@pytest.fixture
def serving():
    """Serves a toy model of a family, until the test ends."""
    served = []

    def serve(family):
        served.append(ServedModel(family, embedder(family), threading.Lock()))
        return served[-1]

    yield serve
    for model in served:
        model.close()


@pytest.fixture
def opening():
    """`open_service` with a toy CLIP for every name, and the names that it opened."""
    opened, services, encoder = [], [], toy_encoder("clip")

    def open_(name):
        opened.append(name)
        return PlainEmbedder(encoder, name)

    def serve(*names):
        services.append(open_service(map(str, names), open_))
        return services[-1]

    yield serve, opened
    for service in services:
        service.close()


@pytest.fixture
def collection(photos, tmp_path):
    """Makes a collection of the squares, of a model by its name."""

    def make(model, seed=0, name="squares"):
        index(PlainEmbedder(toy_encoder("clip", seed), str(model)), in_folder(photos), str(photos), tmp_path / name)
        return tmp_path / name

    return make


def test_an_id_is_what_a_folder_is_called_and_nothing_of_where_it_lies(tmp_path, cd):
    (tmp_path / "my run é").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "my run é")
    cd(tmp_path / "my run é")
    names = (tmp_path / "my run é", ".", "../my run é/", "../link", f"local-dir:{tmp_path / 'my run é'}", "local-dir:.")
    assert {called(str(name)) for name in names} == {"my-run--"}
    assert (called("ViT-B-16/openai"), called("/"), called("hf-hub:a/b")) == ("ViT-B-16-openai", "model", "hf-hub-a-b")
    assert [free("a", taken) for taken in ([], ["a"], ["a", "a-2"], ["a-2"])] == ["a", "a-2", "a-3", "a"]


def test_a_model_is_opened_and_listed_once_however_it_is_named(opening, collection, tmp_path, cd):
    serve, opened = opening
    for place in ("run", "other/run"):
        (tmp_path / place).mkdir(parents=True)
    squares = collection(tmp_path / "run")
    cd(tmp_path)
    service = serve(squares, "run", tmp_path / "run", "./run", "other/run", "squares", "ViT-B-16/openai")
    assert opened == [str(tmp_path / "run"), str(tmp_path / "other" / "run"), "ViT-B-16/openai"]
    assert (
        [model.id for model in service.models.values()] == list(service.models) == ["run", "run-2", "ViT-B-16-openai"]
    )
    assert list(service.collections) == ["squares"]
    assert service.collection("squares").model is service.model("run")
    assert [model.embedder.name for model in service.models.values()] == opened


def test_what_is_not_served_is_a_404_that_names_what_is(opening, collection, tmp_path):
    service = opening[0](*(f"m{number}" for number in range(22)))
    for ask, message in (
        (service.model, "no model is called 'm'; there are: " + ", ".join(f"m{number}" for number in range(20))),
        (service.collection, "no collection is called 'm'; there are: none"),
    ):
        with pytest.raises(Refused, match=f"404: {message}$") as error:
            ask("m")
        what = message.split()[1]
        assert (error.value.param, error.value.code) == (what, f"{what}_not_found")
    with pytest.raises(ConfigError, match=rf"squares: was made with {tmp_path}/run .* is another model"):
        opening[0](collection(tmp_path / "run", seed=1))


def test_the_oldest_of_what_was_learned_is_forgotten(service):
    served = ServedCollection("photos", service.collections["photos"].collection, service.model("toy"))
    rows = torch.randn(LEARNED + 2, 24).unbind()
    ids = [served.keep(row) for row in rows]
    assert len(set(ids)) == LEARNED + 2
    assert all(served.adapted_row(id) is row for id, row in list(zip(ids, rows, strict=True))[2:])
    for id in (*ids[:2], "x" * 200):
        with pytest.raises(Refused, match=r"no adaptation is called '\w+.*, or it was forgotten; adapt again") as error:
            served.adapted_row(id)
        assert (error.value.status_code, len(error.value.detail) < 150) == (404, True)


@pytest.mark.parametrize("family", ["campe", "clip", "bmip"])
def test_classes_and_scale_are_those_that_the_model_is_scored_with(family, serving):
    served = serving(family)
    labels = ["red_square", "a blue thing"]
    rows = asyncio.run(served.classes(labels))
    if family == "bmip":  # has words of its own
        expected = served.embedder.texts(labels)
    else:
        expected = served.embedder.texts(["a photo of a red square.", "a photo of a a blue thing."])
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)
    number = served.embedder.model.logit_scale.item() if family == "campe" else 2.5  # of the toy CLIP
    assert served.scale == pytest.approx(math.exp(number))


@pytest.mark.parametrize("family", ["campe", "clip", "bmip"])
def test_tokens_are_bytes_until_no_more_are_read(family, serving):
    served = serving(family)
    texts = ("a", "aé", "aéa", "a" * 900, "a" * 999)
    (empty, short, longer, long, over), cut = zip(*map(served.tokens, texts), strict=True)
    assert (short - empty, longer - empty) == (2, 3)
    assert long == over < 900
    assert cut == (False, False, False, True, True)
    assert served.tokens("a" * (long + 1 - empty)) == (long, False)
    assert served.tokens("a" * (long + 2 - empty)) == (long, True)


def test_a_picture_that_no_crop_can_be_taken_of_is_refused(serving, photos):
    served, thin = serving("clip"), io.BytesIO()
    Image.new("1", (MAX_PIXELS // 16**2 + 1, 1)).save(thin, "PNG")
    good = next(photos.glob("*.png")).read_bytes()
    with pytest.raises(Refused, match=r"^400: input: .*long and thin") as error:
        asyncio.run(served.pictures([good, thin.getvalue()], "input"))
    assert (error.value.param, error.value.code) == ("input", "invalid_image")
    rows = asyncio.run(served.pictures([good] * 3, "input"))
    with Image.open(io.BytesIO(good)) as picture:
        expected = served.embedder.images(served.embedder.preprocess(picture.convert("RGB"))[None])
    torch.testing.assert_close(rows, expected.expand(3, -1))
