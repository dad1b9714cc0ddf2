"""Protocols: what is trained and scored on what."""

import shutil

import pytest
from miniatures import Root, picture
from toy_encoders import toy_encoder

from polyprompt.bench.plan import cells_of
from polyprompt.bench.protocols import PROTOCOLS, families, joined, leave_one_out, protocol, single_source
from polyprompt.data import catalog
from polyprompt.data.read import read_labelled
from polyprompt.errors import ConfigError, UnknownNameError

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")


@pytest.fixture
def pacs(tmp_path):
    """Two classes in four domains, a few pictures each, none twice."""
    root = Root(tmp_path)
    for d, domain in enumerate(DOMAINS):
        for c, name in enumerate(("dog", "horse")):
            for i in range(3):
                root.file(f"pacs/images/{domain}/{name}/{i}.jpg", picture((60 * d, 200 * c, 40 * i), size=(16, 16)))
    return tmp_path


@pytest.mark.parametrize("name", PROTOCOLS)
def test_published_sets_are_in_the_catalogue(name):
    for source in protocol(name).usual:
        assert catalog.known(source) == source


def test_a_protocol_that_there_is_not():
    with pytest.raises(UnknownNameError, match="few-shot"):
        protocol("fewshot")


def test_pacs_gives_twelve_pairs():
    cells = list(single_source(["pacs"]))
    pairs = {(one["data"], other) for one in cells for other in one["also"]}
    assert len(pairs) == 12
    assert all(source != target for source, target in pairs)


def test_leave_one_out_trains_on_the_other_three():
    assert [(one["data"], one["test"]) for one in leave_one_out(["pacs@there"])] == [
        ("pacs:cartoon+photo+sketch@there", "pacs:art_painting@there"),
        ("pacs:art_painting+photo+sketch@there", "pacs:cartoon@there"),
        ("pacs:art_painting+cartoon+sketch@there", "pacs:photo@there"),
        ("pacs:art_painting+cartoon+photo@there", "pacs:sketch@there"),
    ]


def test_domains_read_together_are_those_read_apart(pacs):
    apart = [read_labelled(f"pacs:{domain}@{pacs}") for domain in ("photo", "sketch")]
    both = read_labelled(f"pacs:photo+sketch@{pacs}")
    assert both.class_names == apart[0].class_names == apart[1].class_names
    expected = [(p.key, label) for one in apart for p, label in zip(one.pictures, one.labels, strict=True)]
    assert [(p.key, label) for p, label in zip(both.pictures, both.labels, strict=True)] == expected
    with pytest.raises(UnknownNameError, match="sketch"):
        read_labelled(f"pacs:photo+skotch@{pacs}")


def test_ones_own_domains_are_one_family(tmp_path):
    assert families(["a", "b", "pacs"]) == [[f"pacs:{domain}" for domain in DOMAINS], ["a", "b"]]
    with pytest.raises(ConfigError, match="cannot be trained on together"):
        joined(["a", "b"])


@pytest.mark.parametrize("data", [["pacs", "eurosat"], ["EuroSAT@there", "a", "b"], ["flickr8k"]])
def test_a_set_without_domains_is_not_passed_over(data):
    with pytest.raises(ConfigError, match=r"^(eurosat|EuroSAT@there|flickr8k): has no domains; give a set with"):
        families(data)


def test_ones_own_folder_may_be_called_like_a_set(tmp_path, cd):
    (tmp_path / "dtd").mkdir()
    cd(tmp_path)
    assert families(["dtd", "b"]) == [["dtd", "b"]]


def test_cells_of_domains(settings, pacs):
    """Training pictures are drawn from the sources, all of a target is scored."""

    grid = settings("leave-one-domain-out", methods=["coop"], seeds=[1]).model_copy(update={"data": (f"pacs@{pacs}",)})
    cells = cells_of(grid, lambda name: toy_encoder("clip"))
    assert len(cells) == 4 * 4
    for cell in cells:
        assert len(cell.inputs) == 3
        assert cell.settings["test"].split("@")[0] not in cell.settings["data"]


@pytest.fixture
def published(tmp_path):
    """Two published sets of three classes."""
    root = Root(tmp_path)
    for name, place, file in (("eurosat", "2750", "EuroSAT"), ("dtd", "images", "DescribableTextures")):
        listed = []
        for label, word in enumerate(("ant", "bee", "cow")):
            root.file(f"{name}/{place}/{word}.jpg", picture((90 * label, len(name), 0), size=(16, 16)))
            listed.append([f"{word}.jpg", label, word])
        root.json(f"{name}/split_zhou_{file}.json", {"train": listed, "val": [], "test": listed})
    return tmp_path


def test_each_set_has_its_published_prompt(settings, published):
    """With methods whose authors choose it by set; not where one is given, nor where sets with several go together."""
    sets = tuple(f"{name}@{published}" for name in ("eurosat", "dtd"))
    usual = "a photo of a {}."

    def prompts(name, *methods, **values):
        grid = settings(name, seeds=[1], methods=methods).model_copy(update={"data": sets, "shots": (1,)} | values)
        cells = [cell.settings["method"] for cell in cells_of(grid, lambda name: toy_encoder("clip"))]
        found = [(one["name"], one.get("template") or one.get("templates")) for one in cells]
        return [(name, one if isinstance(one, str) else one[0]) for name, one in found if one]

    own = ["a centered satellite photo of {}.", "{} texture."]
    zero_shot, kgcoop = ([(name, one) for one in own] for name in ("zeroshot", "kgcoop"))
    assert prompts("zero-shot", shots=()) == zero_shot
    assert prompts("few-shot", "kgcoop") == zero_shot + kgcoop
    assert prompts("few-shot", "mma") == [*zero_shot, ("mma", usual), ("mma", usual)]
    assert prompts("few-shot", {"name": "kgcoop", "template": "{}!"}) == [
        *zero_shot,
        ("kgcoop", "{}!"),
        ("kgcoop", "{}!"),
    ]
    assert prompts("zero-shot", shots=(), settings={"method": {"templates": ["{}!"]}}) == [("zeroshot", "{}!")] * 2
    assert prompts("cross-dataset", "kgcoop") == [("zeroshot", usual), ("kgcoop", usual)]


def test_aspect_weights_are_fixed_or_chosen_on_val(settings, place, tmp_path):
    """Where there is no val, there is no row of chosen ones."""

    def methods(grid):
        return [cell.settings["method"] for cell in cells_of(grid, lambda name: toy_encoder("campe"))]

    plain, weighted = methods(settings("aspects"))
    assert (plain["aspect_weights"], plain["tune_aspects"]) == ([], False)
    assert weighted["aspect_weights"] == pytest.approx([1.25, 0.875, 0.875])
    shutil.copytree(place / "split", tmp_path / "split")
    shutil.copytree(place / "plain", tmp_path / "split" / "val")
    *_, chosen = methods(settings("aspects").model_copy(update={"data": (str(tmp_path / "split"),)}))
    assert (chosen["aspect_weights"], chosen["tune_aspects"]) == ([], True)
