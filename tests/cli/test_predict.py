"""What cannot be predicted, and classes for a model of captions."""

import json
import shutil

import torch

import polyprompt as pp


def test_what_cannot_be_predicted(adapt, polyprompt, squares, tmp_path):
    run = tmp_path / "run"
    assert adapt("--out", run, "--set", "method.context=1")[0] == 0
    broken, empty = tmp_path / "broken.png", tmp_path / "empty"
    broken.write_bytes(b"no picture")
    empty.mkdir()
    picture = squares / "red" / "0.png"
    for words, expected in (
        ([run, broken, broken], "2 of 2 pictures cannot be read; what is wrong with each stands above."),
        ([run, tmp_path / "brokn.png"], f"brokn.png: no such picture or folder. Did you mean '{broken}'?"),
        ([run, empty], "no pictures in it"),
        ([run, picture, "--classes", "cat"], "1 class (cat); telling classes apart needs at least two"),
        ([run, picture, "--classes", "cat,Cat "], "the classes 'cat' and 'Cat' have one name"),
        ([run, picture, "--classes", f"cat,{'d ' * 90}"], "shorten the name or the context"),
        ([tmp_path / "nowhere", picture], "nowhere"),
    ):
        code, _, err = polyprompt("predict", *words)
        assert code == 2, err
        assert expected in err.splitlines()[-1]
        assert "Traceback" not in err
    code, _, err = polyprompt("predict", run, broken)
    assert (code, len(err.splitlines()), f"{broken}: not a picture" in err) == (2, 1, True)
    code, out, err = polyprompt("predict", run, broken, picture)
    assert (code, len(out.splitlines())) == (2, 1)
    assert f"{broken}: not a picture" in err
    shutil.rmtree(run / "model")
    code, _, err = polyprompt("predict", run, picture)
    assert (code, "finish it with `polyprompt adapt ... --resume`" in err) == (2, True)


def test_a_model_of_captions_classifies_zero_shot(polyprompt, toy, place, tmp_path):
    run = tmp_path / "captions"
    code, _, err = polyprompt("align", *toy(), "--out", run)
    assert code == 0, err
    picture = place / "photos" / "0.png"
    code, out, err = polyprompt("predict", run, picture, "--classes", "red square,blue square", "--json")
    assert code == 0, err
    model = pp.load(run)
    scores = model.similarity(["a photo of a red square.", "a photo of a blue square."], [picture])[:, 0]
    expected = (model.scale * scores).softmax(dim=0)
    found = torch.tensor(list(json.loads(out)["probabilities"].values()))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    code, _, err = polyprompt("predict", run, picture)
    assert (code, "name them (--classes a,b,c)" in err) == (2, True)
    code, _, err = polyprompt("export-original", run, tmp_path / "out")
    assert (code, "a CAMPE model, not an adapter" in err) == (2, True)
