"""A text side trained on scored pairs of sentences: what it learns, what stays, and what its scores are."""

import shutil

import pytest
import torch
from run_files import log_of
from safetensors.torch import load_file
from scipy.stats import spearmanr
from toy_runs import toy_settings

import polyprompt
from polyprompt.adapt.classifier import Classifier
from polyprompt.data.read import read_scored
from polyprompt.errors import ConfigError
from polyprompt.report.page import write_page
from polyprompt.report.tables import write_table
from polyprompt.runs.align import align
from polyprompt.runs.evaluate import evaluate
from polyprompt.runs.folder import read_results

WORDS = ("a red square", "a blue square", "one green thing", "a white thing", "nothing")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Every pair of five sentences, in three splits; the score is how many words they share."""
    lines = ["sentence1\tsentence2\tscore\tsplit"]
    for i, first in enumerate(WORDS):
        for j, second in enumerate(WORDS):
            shared = len(set(first.split()) & set(second.split()))
            lines.append(f"{first}\t{second}\t{shared}.0\t{('train', 'train', 'dev', 'test')[(i * 5 + j) % 4]}")
    path = tmp_path_factory.mktemp("sentences") / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(place, table, tmp_path_factory, module_cache):
    folder = tmp_path_factory.mktemp("trained")
    align(toy_settings(place, data=str(table), epochs=6, rate=0.01), folder / "run")
    return folder / "run"


def by_hand(run, table, split):
    """Sentence by sentence, by the model that the run left, and scipy."""
    model, pairs = polyprompt.load(run), read_scored(str(table), split)
    cosines = [
        float(model.encode_text(one)[0] @ model.encode_text(other)[0])
        for one, other in zip(pairs.first, pairs.second, strict=True)
    ]
    return float(spearmanr(cosines, pairs.scores).statistic)


def test_a_run_learns_the_order_of_its_pairs(trained, table):
    results = read_results(trained)
    assert results["retrieval"] == {}
    ((name, found),) = results["sentences"].items()
    assert (name, found["pairs"]) == (f"{table} test", 6)
    assert found["spearman"] == pytest.approx(by_hand(trained, table, "test"))
    lines = log_of(trained)
    assert all(line["loss"] >= line["cosent"] > 0 for line in lines if "loss" in line)
    dev = [line["dev"]["spearman"] for line in lines if "dev" in line]
    assert len(dev) == 6
    assert dev[-1] == pytest.approx(by_hand(trained, table, "dev"))
    assert by_hand(trained, table, "train") > 0.5


def test_the_image_side_stays_and_the_text_side_moves(trained, place, table, tmp_path):
    captions = align(toy_settings(place, epochs=1), tmp_path / "captions")
    before = {name: tensor.clone() for name, tensor in captions.learned().items()}
    settings = toy_settings(place, data=str(table), epochs=1, start_from=str(tmp_path / "captions"))
    after = align(settings, tmp_path / "run").learned()
    moved = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert moved == {"text"}
    assert after.keys() == load_file(trained / "model" / "model.safetensors").keys()


def test_a_run_stopped_between_epochs_goes_on(trained, place, table, tmp_path):
    settings = toy_settings(place, data=str(table), epochs=6, rate=0.01)
    out = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(out / "model")
    (out / "results.json").unlink()
    align(settings, out, resume=True)
    assert read_results(out)["sentences"] == read_results(trained)["sentences"]


def test_any_run_of_align_scores_sentences(place, table, tmp_path):
    align(toy_settings(place, epochs=1), tmp_path / "run")
    found = evaluate(tmp_path / "run", str(table), "dev+test")
    assert (found.kind, found.name) == ("sentences", f"{table} dev+test")
    both = read_scored(str(table), "dev"), read_scored(str(table), "test")
    assert found.scores["pairs"] == sum(len(one.scores) for one in both)
    assert read_results(tmp_path / "run")["sentences"] == {found.name: found.scores}


def test_a_classifier_compares_no_sentences(trained, table):
    classifier = object.__new__(Classifier)
    with pytest.raises(ConfigError, match="which compares no sentences; give a run of align"):
        evaluate(trained, str(table), model=classifier)


def test_a_report_shows_the_correlation(trained, table, tmp_path):
    share = 100 * read_results(trained)["sentences"][f"{table} test"]["spearman"]
    assert f" {share:.1f} " in write_table([trained])
    write_page([trained], tmp_path / "page.html")
    assert f"{share:.1f}" in (tmp_path / "page.html").read_text()


def test_reading_in_one_pass_or_from_the_cache_is_the_same(place, table, tmp_path):
    runs = [
        align(toy_settings(place, data=str(table), epochs=1, cache=cache, cache_dtype="fp32"), tmp_path / str(cache))
        for cache in (True, False)
    ]
    for left, right in zip(runs[0].learned().values(), runs[1].learned().values(), strict=True):
        torch.testing.assert_close(left, right)
