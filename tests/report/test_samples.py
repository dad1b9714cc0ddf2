import json

import numpy as np
import pytest
import torch
from PIL import Image

from polyprompt.disk.files import write_manifest
from polyprompt.errors import DataError, FileError
from polyprompt.report import samples
from polyprompt.report.samples import collect

QUERIES = ["a red band", "something <b>blue</b>"]


def test_what_never_changes_has_no_correlation_to_show(toy_model, toy_pairs, tmp_path):
    """The second of three segments is the same for all pictures; the others correlate as numpy says."""
    texts, images = (
        torch.randn(18, 6, generator=torch.Generator().manual_seed(1)),
        torch.randn(9, 6, generator=torch.Generator().manual_seed(2)),
    )
    images[:, 2:4], texts[:, 2:4] = 0.7, 0.3
    made = collect(toy_model, toy_pairs, [], tmp_path / "samples", texts=texts, images=images)
    scores = np.einsum("tke,ike->kti", texts.view(18, 3, 2), images.view(9, 3, 2)).reshape(3, -1)
    for k in range(3):
        for other in range(3):
            found = made.correlation[k][other]
            if 1 in (k, other):
                assert found is None
            else:
                assert found == pytest.approx(np.corrcoef(scores[k], scores[other])[0, 1], abs=1e-4)


def test_what_is_collected_can_be_read_again(toy_model, toy_pairs, tmp_path):
    made = collect(toy_model, toy_pairs, QUERIES, tmp_path / "samples", shown=3, top=4)
    assert samples.read(tmp_path / "samples") == made
    assert (made.data, made.images, made.captions, made.prompts) == ("toy set", 9, 18, toy_model.prompts)
    assert [look.key for look in made.looks] == ["picture 1.png", "picture 4.png", "picture 7.png"]
    assert [look.caption for look in made.looks] == ["caption a of 1", "caption a of 4", "caption a of 7"]
    for file in {look.file for look in made.looks} | {match.file for s in made.searches for match in s.results}:
        with Image.open(tmp_path / "samples" / file) as picture:
            assert max(picture.size) <= samples.SIDE


def test_searches_rank_as_a_slow_loop_does(toy_model, toy_pairs, tmp_path):
    made = collect(toy_model, toy_pairs, QUERIES, tmp_path / "samples", top=4)
    for query, search in zip(QUERIES, made.searches, strict=True):
        text = toy_model.encode_text([query])[0]
        scores = {p.key: float(text @ toy_model.encode_image([p.open()])[0]) for p in toy_pairs.images}
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:4]
        assert search.query == query
        assert [match.key for match in search.results] == best
        assert [match.score for match in search.results] == pytest.approx([scores[key] for key in best], rel=1e-4)


def test_a_look_holds_the_models_maps_and_contributions_that_add_up_to_the_cosine(toy_model, toy_pairs, tmp_path):
    look = collect(toy_model, toy_pairs, [], tmp_path / "samples", shown=1).looks[0]
    picture = toy_pairs.images[4].open()
    np.testing.assert_allclose(look.maps, toy_model.attention([picture])[0], rtol=1e-4)
    cosine = float(toy_model.encode_text([look.caption])[0] @ toy_model.encode_image([picture])[0])
    assert sum(look.contributions) == pytest.approx(cosine, abs=1e-4)


def test_embeddings_that_were_just_made_are_not_made_again(toy_model, toy_pairs, tmp_path):
    texts = toy_model.encode_text(list(toy_pairs.captions))
    images = toy_model.encode_image([picture.open() for picture in toy_pairs.images])
    fresh = collect(toy_model, toy_pairs, QUERIES, tmp_path / "a")
    toy_model.encode_image = lambda images: pytest.fail("encoded again")
    assert collect(toy_model, toy_pairs, QUERIES, tmp_path / "b", texts=texts, images=images) == fresh
    with pytest.raises(DataError, match="17 text and 9 image embeddings for 18 captions and 9 pictures"):
        collect(toy_model, toy_pairs, QUERIES, tmp_path / "c", texts=texts[1:], images=images)
    assert not (tmp_path / "c").exists()


def test_samples_are_replaced_and_other_folders_are_not(toy_model, toy_pairs, tmp_path):
    collect(toy_model, toy_pairs, QUERIES, tmp_path / "samples")
    collect(toy_model, toy_pairs, QUERIES[:1], tmp_path / "samples")
    assert [search.query for search in samples.read(tmp_path / "samples").searches] == QUERIES[:1]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    with pytest.raises(FileError, match="exists already"):
        collect(toy_model, toy_pairs, QUERIES, tmp_path / "mine")
    assert (tmp_path / "mine" / "diary.txt").read_text() == "dear diary"


def test_a_flipped_byte_is_found(toy_model, toy_pairs, tmp_path):
    file = collect(toy_model, toy_pairs, QUERIES, tmp_path / "samples").looks[0].file
    data = bytearray((tmp_path / "samples" / file).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "samples" / file).write_bytes(data)
    with pytest.raises(FileError, match=f"{file}: damaged or changed"):
        samples.read(tmp_path / "samples")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s["looks"][0].update(file="../../secret.jpg"), r"looks\.0\.file"),
        (lambda s: s["looks"][0].update(file="0123456789abcdef.jpg"), "does not list"),
        (lambda s: s["looks"][0].update(maps=s["looks"][0]["maps"][:2]), "one contribution and one map for each of 3"),
        (lambda s: s["looks"][0]["maps"][0][0].pop(), "no rectangle"),
        (lambda s: s["correlation"].pop(), "correlation is not 3 x 3"),
        (lambda s: s.update(version=2), "version"),
        (lambda s: s.update(surprise=1), "surprise"),
    ],
)
def test_samples_of_another_shape_are_refused_even_if_their_hashes_fit(toy_model, toy_pairs, tmp_path, change, says):
    folder = tmp_path / "samples"
    collect(toy_model, toy_pairs, QUERIES, folder)
    content = json.loads((folder / "samples.json").read_text())
    change(content)
    (folder / "samples.json").write_text(json.dumps(content))
    write_manifest(folder)
    with pytest.raises(FileError, match=says) as caught:
        samples.read(folder)
    assert "\n" not in str(caught.value)


def test_samples_that_the_manifest_does_not_name_are_refused(toy_model, toy_pairs, tmp_path):
    folder = tmp_path / "samples"
    collect(toy_model, toy_pairs, QUERIES, folder)
    write_manifest(folder, [path.name for path in folder.glob("*.jpg")])
    with pytest.raises(FileError, match=r"manifest\.json: damaged, it does not name samples\.json"):
        samples.read(folder)
