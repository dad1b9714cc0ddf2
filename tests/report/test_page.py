import json
import re
from html.parser import HTMLParser

import pytest

from polyprompt.data.items import Pairs
from polyprompt.errors import ConfigError, FileError
from polyprompt.report.page import aspect_names, write_page
from polyprompt.report.samples import collect

VOID = {"meta", "img", "br", "hr", "input", "link", "wbr"}
EVIL = "<script>alert(1)</script>\"'&"
QUERIES = ["a red band", f"something {EVIL}"]


class Page(HTMLParser):
    """Parses strictly: every tag closed in order, no attribute twice, no id twice."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words, self.ids = [], [], [], set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice: {attrs}"
        self.tags.append((tag, dict(attrs)))
        if name := dict(attrs).get("id"):
            assert name not in self.ids, f"the id {name} is there twice"
            self.ids.add(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(runs, tmp_path):
    write_page(runs, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.fixture
def sampled_runs(make_run, toy_model, toy_pairs):
    """Two seeds of one experiment and one of another, with names, captions and settings that try to be tags."""
    captions = (EVIL, *toy_pairs.captions[1:])
    pairs = Pairs(f"set {EVIL}", toy_pairs.images, captions, toy_pairs.image_of)
    runs = [make_run("k6", 0), make_run("k6", 1), make_run("one", 0, config={"template": EVIL})]
    for run in (runs[0], runs[2]):
        collect(toy_model, pairs, QUERIES, run / "samples", shown=9, top=5)
    results = json.loads((runs[2] / "results.json").read_text())
    results |= {"name": EVIL, "command": EVIL, "machine": EVIL, "retrieval": {EVIL: results["retrieval"]["toy set"]}}
    (runs[2] / "results.json").write_text(json.dumps(results))
    return runs


def test_the_page_is_whole_fetches_nothing_and_runs_nothing(sampled_runs, tmp_path):
    html = page_of(sampled_runs, tmp_path)
    page = Page(html)
    assert not re.search(r"https?://|//cdn|@import|javascript:", html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    links = [attrs[name] for _, attrs in page.tags for name in ("src", "href", "xlink:href") if name in attrs]
    assert links
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert all("alt" in attrs for tag, attrs in page.tags if tag == "img")
    assert len(html) < 1_000_000


def test_text_stays_text(sampled_runs, tmp_path):
    # Every place that takes text from outside: names, commands, machines, sets, settings, captions, queries.
    page = Page(page_of(sampled_runs, tmp_path))
    assert page.text.count(EVIL) >= 10
    assert f"something {EVIL}" in page.text


def test_every_search_and_every_map_is_there(sampled_runs, toy_model, tmp_path):
    page = Page(page_of(sampled_runs, tmp_path))
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    maps = [attrs for attrs in images if attrs["alt"].startswith("Where the segment")]
    hits = [attrs for attrs in images if attrs["alt"].startswith("picture ")]
    experiments = 2
    assert len(maps) == experiments * 9 * len(toy_model.prompts)
    assert len(hits) == experiments * len(QUERIES) * 5
    assert "“scene”" in maps[1]["alt"]


def test_the_figures_are_in_the_page(sampled_runs, tmp_path):
    page = Page(page_of(sampled_runs, tmp_path))
    for expected in (
        "text → image",
        "image → text",
        "R@10",
        "25.0 ± 0.0",
        "75.0 ± 0.0",
        "redundancy 0.50",
        "1,234,567",
    ):
        assert expected in page.text
    titles = ["loss", "contrast", "diversity", "negation", "recall@1 on dev, %", "likeness of aspects on dev"]
    labels = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert [label.split(" over training steps")[0] for label in labels][:7] == [*titles, "learning rate"]
    assert sum("correlation of the segment scores" in label for label in labels) == experiments_with_samples(page)


def experiments_with_samples(page):
    return sum("The prompts" in word for word in page.words)


def test_recall_is_drawn_where_there_are_experiments_to_compare(make_run, tmp_path):
    one, two = make_run("a", t2i=0.2), make_run("b", t2i=0.4)
    alone, together = (Page(page_of(runs, tmp_path)) for runs in ([one], [one, two]))
    drawn = [
        sum("R@1 in %" in attrs.get("aria-label", "") for tag, attrs in page.tags if tag == "svg")
        for page in (alone, together)
    ]
    assert drawn == [0, 2]


def test_adapted_runs_are_drawn_and_told_class_by_class(make_adapt_run, tmp_path):
    runs = [make_adapt_run("maple", seed, base=(0.9, 0.75)) for seed in (0, 1)] + [
        make_adapt_run("coop", base=(0.6, 0.2))
    ]
    html = page_of(runs, tmp_path)
    assert 'aria-label="base, accuracy in %, on classification"' in html
    text = Page(html).text
    assert "no results yet" not in text
    assert "4,096 numbers learned" in text
    assert "Accuracy by class: base maple coop-seed0 dog 75 20 cat 90 60" in text  # the hardest class first


def test_a_class_without_scored_pictures_has_no_accuracy(make_adapt_run, tmp_path):
    runs = [make_adapt_run("maple", base=(0.9, None)), make_adapt_run("coop", base=(0.6, 0.2))]
    text = Page(page_of(runs, tmp_path)).text
    assert "Accuracy by class: base maple-seed0 coop-seed0 dog \N{EN DASH} 20 cat 90 60" in text


def test_a_run_without_samples_and_an_unfinished_one_give_a_page(make_run, tmp_path):
    page = Page(page_of([make_run("bare"), make_run("going", finished=False)], tmp_path))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "no results yet" in page.text
    assert "Where each segment looks" not in page.text
    page = Page(page_of([make_run("alone", finished=False)], tmp_path))
    assert "No evaluation yet" in page.text


def test_damage_stops_the_page_with_one_line_and_leaves_the_old_one(sampled_runs, tmp_path):
    before = page_of(sampled_runs, tmp_path)
    (sampled_runs[0] / "samples" / "samples.json").write_text("{}")
    with pytest.raises(FileError, match=r"samples\.json: damaged or changed"):
        page_of(sampled_runs, tmp_path)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == before
    with pytest.raises(FileError, match="no such run folder"):
        page_of([tmp_path / "gone"], tmp_path)
    with pytest.raises(ConfigError, match="no runs given"):
        page_of([], tmp_path)


def test_a_run_named_twice_counts_once(make_run, tmp_path):
    run = make_run("a")
    assert page_of([run, run], tmp_path) == page_of([run], tmp_path)


@pytest.mark.parametrize(
    ("prompts", "names"),
    [
        (["the dog of the image means:", "the scene of the image means:"], ["dog", "scene"]),
        (["the [APT-1] of it:", "the [APT-2] of it:"], ["APT-1", "APT-2"]),
        (["the meaning is:"], ["the meaning is:"]),
        (["same", "same"], ["same", "same"]),
        (["the of", "the big of"], ["the of", "big"]),
        (["a b", "c d"], ["a b", "c d"]),
    ],
)
def test_aspects_are_called_by_what_tells_their_prompts_apart(prompts, names):
    assert aspect_names(prompts) == names
