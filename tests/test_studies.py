"""The page of results says what the kept runs say, and the studies' settings are ones that `align` and `adapt` take."""

import importlib.util
from pathlib import Path

import pytest
import torch

from polyprompt.disk.files import write_json
from polyprompt.runs.align import AlignSettings
from polyprompt.runs.resolve import resolved
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import checked

STUDIES = Path(__file__).parents[1] / "studies"


def study(name):
    spec = importlib.util.spec_from_file_location(f"study_{name}", STUDIES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_results_is_what_its_program_writes():
    page = study("page")
    assert page.PAGE.read_text() == page.page()


def test_every_variant_has_settings_that_align_takes():
    flickr8k = study("flickr8k")
    parts = [*flickr8k.READ_OUTS.values(), *flickr8k.BASELINES.values(), *flickr8k.ABLATIONS.values()]
    settings = [checked(AlignSettings, flickr8k.merged(flickr8k.COMMON, part)) for part in parts]
    assert all(one.image.queries == 6 and one.image.new_blocks == 2 for one in settings)


def test_every_read_out_of_sentences_has_settings_that_align_takes():
    sts = study("sts")
    parts = [checked(AlignSettings, sts.COMMON | {"text": text}) for text in sts.READ_OUTS.values()]
    assert [one.text.readout for one in parts] == ["prompts", "prompts", "last", "mean"]


def test_clips_go_on_from_the_pictures_settings():
    flickr8k, msrvtt = study("flickr8k"), study("msrvtt")
    for name in msrvtt.READ_OUTS:
        before = checked(AlignSettings, flickr8k.merged(flickr8k.COMMON, flickr8k.READ_OUTS[name])).model_dump()
        now = checked(AlignSettings, msrvtt.settings_of(before, name, 1, rate=1e-4))
        assert (now.image.queries, now.image.new_blocks, now.image.frames) == (6, 2, 6)
        assert now.text.model_dump() == before["text"]
        assert (now.seed, now.rate, now.start_from) == (1, 1e-4, f"runs/flickr8k/final/{name}/1")


def test_weights_of_aspects_count_what_they_gain_and_lose():
    aspects = study("aspect_weights")
    assert aspects.weights_of(6) == [1.25, 0.95, 0.95, 0.95, 0.95, 0.95]
    equal = torch.tensor([[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    weighted = torch.tensor([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    found = aspects.compared(equal, weighted, torch.tensor([0, 1, 1, 0]))
    assert found == {"equal": 0.5, "weighted": 0.5, "gained": 1, "lost": 1, "pictures": 4}


def test_every_method_has_settings_that_adapt_takes():
    adapt = study("adapt")
    for name, method in adapt.METHODS.items():
        given = {"encoder": adapt.ENCODER, "data": "data/pacs/photo", "method": method}
        given["terms"] = adapt.TERMS.get(name, {})
        resolved(checked(AdaptSettings, given | {"epochs": 1, "batch": 16, "rate": 0.01}))


@pytest.mark.parametrize(("gap", "verdict"), [(9.0, "above"), (1.0, "within the spread"), (-9.0, "below")])
def test_a_gap_counts_if_it_is_beyond_both_spreads(tmp_path, monkeypatch, gap, verdict):
    page = study("page")
    monkeypatch.setattr(page, "HERE", tmp_path)
    for name, level in (("prompts-6", 40.0 + gap), ("last", 40.0)):
        for seed, off in enumerate((-1.0, 0.0, 1.0)):
            folder = tmp_path / "results" / "flickr8k" / "final" / name / str(seed)
            folder.mkdir(parents=True)
            found = {way: {"recall@1": (level + off) / 100} for way in page.DIRECTIONS}
            write_json(folder / "results.json", {"retrieval": {"test": found}})
    (line,) = page.verdicts()
    assert line.startswith("- against the last token: ")
    assert line.count(f"{gap:+.1f} ({verdict})") == 2
    assert f"Beyond the spread in {2 if verdict == 'above' else 0} of 2 figures." in line
