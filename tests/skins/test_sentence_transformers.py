"""sentence-transformers' own code on a run: encode, similarity, evaluators, folders it saves and opens."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from toy_encoders import NAMES, toy_encoder
from toy_run import captioned

import polyprompt as pp
from polyprompt import methods
from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.errors import DataError
from polyprompt.media.pictures import open_picture
from polyprompt.runs.load import model_folder

TEXTS = ["a red square", "two dogs play in the snow", "a"]


@pytest.fixture(scope="module")
def pair(aligned):
    """The run as sentence-transformers and as polyprompt open it."""
    return pp.to_sentence_transformer(aligned / "run"), pp.load(aligned / "run")


def test_rows_are_those_of_the_run(pair, aligned):
    st, model = pair
    files = [file for file, _ in captioned(aligned)[:3]]
    pictures = [open_picture(file) for file in files]
    np.testing.assert_allclose(st.encode(TEXTS), model.encode_text(TEXTS).numpy(), atol=1e-6)
    expected = model.encode_image(pictures).numpy()
    for given in (pictures, [{"image": str(file)} for file in files], [{"image": picture} for picture in pictures]):
        np.testing.assert_allclose(st.encode(given), expected, atol=1e-6)
    assert st.get_embedding_dimension() == 24
    assert st.similarity_fn_name == "cosine"


@pytest.mark.slow
def test_a_text_that_is_a_path_is_a_text_and_prompts_stand_in_front(pair, aligned):
    st, model = pair
    path = str(captioned(aligned)[0][0])
    np.testing.assert_allclose(st.encode([path]), model.encode_text([path]).numpy(), atol=1e-6)
    np.testing.assert_allclose(st.encode(["b"], prompt="a "), model.encode_text(["a b"]).numpy(), atol=1e-6)
    scores = st.similarity(st.encode(TEXTS), st.encode([{"image": path}]))
    torch.testing.assert_close(scores, model.similarity(TEXTS, [path]))
    with pytest.raises(ValueError, match="mix"):
        st.encode([{"image": path}, "a"])
    with pytest.raises(DataError, match="neither a text nor a picture"):
        st[0].preprocess([None])


@pytest.mark.slow
def test_it_saves_and_opens_again(pair, aligned, tmp_path):
    from sentence_transformers import SentenceTransformer

    st, model = pair
    st.save_pretrained(str(tmp_path / "st"))
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(tmp_path / "st"))
    expected = model.encode_text(TEXTS).numpy()
    for again in (
        SentenceTransformer(str(tmp_path / "st"), trust_remote_code=True),
        pp.to_sentence_transformer(tmp_path / "st"),
    ):
        np.testing.assert_array_equal(again.encode(TEXTS), expected)
    assert model_folder(tmp_path / "st").parent.name == "0_Towers"
    assert torch.equal(pp.load(tmp_path / "st").encode_text(TEXTS), model.encode_text(TEXTS))


@pytest.mark.slow
def test_its_evaluators_give_what_scipy_gives(pair):
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    st, model = pair
    left, right = ["a cat", "a dog", "a red car", "snow"], ["a dog", "a dog", "the sea", "rain"]
    gold = [0.4, 1.0, 0.1, 0.5]
    found = EmbeddingSimilarityEvaluator(left, right, gold)(st)
    cosines = (model.encode_text(left) * model.encode_text(right)).sum(dim=1)
    assert found["spearman_cosine"] == pytest.approx(spearmanr(cosines, gold).statistic)


@pytest.mark.slow
def test_what_adapt_made_is_taken_too(squares, tmp_path):
    from sentence_transformers import SentenceTransformer

    from polyprompt.skins.sentence_transformers import Towers

    made = Classifier(build(methods.config_of("maple")(depth=2, words=""), toy_encoder("clip"), NAMES, seed=1))
    module = Towers(made, "toy")
    st = SentenceTransformer(modules=[module])
    pictures = [Image.fromarray(array) for array in squares[0][:2]]
    texts, images = st.encode(list(NAMES[:1])), st.encode(pictures)
    head = made.method.head()
    with torch.no_grad():
        logits = made.method(torch.stack([made.preprocess(picture) for picture in pictures]))
    np.testing.assert_allclose(images @ texts.T * float(head.scale), logits[:, :1].numpy(), atol=1e-3)
    assert (module.max_seq_length, module.get_embedding_dimension()) == (58, 32)
