"""Options are made of settings: each setting is reached, each mistake is told with the file or option it stands in."""

import re

import pytest
import typer

from polyprompt.cli.app import app
from polyprompt.cli.options import Given, option_of, options_of, read
from polyprompt.errors import ConfigError
from polyprompt.runs.settings import AdaptSettings, AlignSettings
from polyprompt.settings import setting_names, settings_of

ALIGN = {
    "dim": ("48", 48), "name": ("other", "other"), "data": ("photos", "photos"), "epochs": ("3", 3),
    "text.tower": ("llm", "llm"), "text.depth": ("24", 24), "text.readout": ("mean", "mean"), "text.prompts": ("2", 2),
    "text.words": ("[people, place]", ("people", "place")), "text.template": ("its {} is: x", "its {} is: x"),
    "text.negated_template": ("its {} is not:", "its {} is not:"), "text.adaptive": ("input", "input"),
    "text.last_n": ("2", 2), "text.norm": ("own", "own"),
    "text.shared_map": ("true", True), "text.max_tokens": ("32", 32),
    "image.tower": ("cnn", "cnn"), "image.trained_blocks": ("all", "all"), "image.new_blocks": ("2", 2),
    "image.width": ("64", 64), "image.queries": ("4", 4), "image.frames": ("12", 12),
    "loss.contrast": ("sigmoid", "sigmoid"),
    "loss.diversity": ("0", 0.0), "loss.diversity_of": ("readouts", "readouts"),
    "loss.negation": ("0.5", 0.5), "loss.negation_columns": ("all", "all"),
    "train_split": ("train+restval", "train+restval"), "dev_split": ("none", None), "test_split": ("null", None),
    "max_bad": ("7", 7), "batch": ("16", 16), "rate": ("0.01", 0.01), "tower_rate": ("1e-5", 1e-5),
    "tower_dtype": ("bf16", "bf16"), "norm_rate": ("1e-2", 1e-2), "bias_rate": ("0.5", 0.5),
    "loss.scale": ("20", 20.0), "loss.bias": ("-3", -3.0),
    "start_from": ("runs/a", "runs/a"), "text.lora": ("4", 4), "mirrored": ("true", True),
    "dropped_words": ("0.1", 0.1), "dropped_patches": ("0.2", 0.2),
    "weight_decay": ("0", 0.0), "seed": ("5", 5), "precision": ("bf16", "bf16"), "cache": ("false", False),
    "cache_dtype": ("int8", "int8"), "cache_gb": ("0.5", 0.5),
}  # fmt: skip
ADAPT = {
    "tower_dtype": ("bf16", "bf16"), "name": ("other", "other"), "data": ("pets", "pets"), "encoder": ("clip", "clip"),
    "method": ("maple", {"name": "maple"}), "protocol": ("base-to-novel", "base-to-novel"), "shots": ("none", None),
    "take_fewer": ("true", True), "seed": ("5", 5), "train_split": ("first", "first"), "test_split": ("last", "last"),
    "test": ("more", "more"), "held_out": ("0.2", 0.2), "also": ("[a, b]", ("a", "b")), "epochs": ("3", 3),
    "batch": ("16", 16), "rate": ("1e-2", 0.01), "optimizer": ("adamw", "adamw"), "weight_decay": ("0", 0.0),
    "schedule": ("cosine", "cosine"), "steps": ("30", 30), "eps": ("1e-3", 1e-3), "crop": ("0.5", 0.5),
    "val_split": ("held", "held"), "max_bad": ("7", 7),
    "descriptions": ("said.json", "said.json"), "select": ("val", "val"), "budget": ("5m", 300.0),
    "domainbed": ("true", True), "task": ("[c, d]", ("c", "d")),
    "terms": ("promptsrc", {"promptsrc": {}}), "augment": ("true", True), "views": ("randaugment", "randaugment"),
    "precision": ("bf16", "bf16"),
    "cache_gb": ("0", 0.0),
}  # fmt: skip
"""A setting, a value as the user writes it, and what it is then."""
BOTH = pytest.mark.parametrize(("kind", "table"), [(AlignSettings, ALIGN), (AdaptSettings, ADAPT)], ids=lambda x: "")


def asked(kind, *words):
    """The settings that a command made of this kind gets."""
    program, found = typer.Typer(), []

    @program.command()
    @options_of(kind)
    def command(given: Given) -> None:
        found.append(given.settings(name="by default"))

    program([str(word) for word in words], standalone_mode=False)
    return found[0]


def value_of(settings, name):
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def given_for(kind, table):
    """What has to be said of a kind, by --set."""
    return [
        f"--set={one.name}={table[one.name][0]}"
        for one in settings_of(kind)
        if one.name in ("data", "encoder", "method")
    ]


@BOTH
def test_every_setting_is_reached_by_set(kind, table):
    assert set(table) == set(setting_names(kind))
    found = asked(kind, *[f"--set={name}={written}" for name, (written, _) in table.items()])
    assert {name: value_of(found, name) for name in table} == {name: value for name, (_, value) in table.items()}
    untouched = asked(kind, *given_for(kind, table))
    needed = ("data", "encoder", "method")
    assert all(value_of(untouched, name) != value for name, (_, value) in table.items() if name not in needed)
    assert untouched.name == "by default"


@BOTH
def test_what_is_shown_is_an_option_called_like_its_setting(kind, table):
    assert set(kind.SHOWN) <= set(setting_names(kind))
    words = []
    for name in kind.SHOWN:
        written, value = table[name]
        if isinstance(value, bool):
            words += [option_of(name)]
        elif isinstance(value, tuple):
            words += [word for item in value for word in (option_of(name), item)]
        else:
            words += [written] if name == "data" else [option_of(name), written]
    found = asked(kind, *words, *given_for(kind, table))
    assert {name: value_of(found, name) for name in kind.SHOWN} == {name: table[name][1] for name in kind.SHOWN}


@pytest.mark.parametrize(("command", "kind"), [("align", AlignSettings), ("adapt", AdaptSettings)])
def test_the_help_page_says_what_the_fields_say(command, kind, polyprompt):
    code, page, _ = polyprompt(command, "--help")
    assert code == 0
    page = " ".join(page.split())
    for setting in settings_of(kind):
        if setting.name in kind.SHOWN:
            assert option_of(setting.name) in page
            assert setting.doc in page
    assert len(kind.SHOWN) <= 13, "DATA and a dozen options"
    assert "auto|fp32|bf16" in page or command == "adapt"
    assert "[default: 6; at least 1]" in page or "[default: 16; at least 1]" in page
    assert "few-shot|base-to-novel|cross-dataset" in page or command == "align"


def test_no_command_has_an_option_of_a_name_that_another_uses_for_something_else():
    """One word for one thing: an option that several commands have means the same in all of them."""
    helps = {}
    for command in typer.main.get_command(app).commands.values():
        for one in command.params:
            for name in one.opts:
                helps.setdefault(name, {})[command.name] = (getattr(one, "help", "") or "").split(";")[0]
    assert not {"images", "query", "image"} & set(helps)
    assert len(set(helps["--encoder"].values())) <= 3
    assert len(set(helps["--classes"].values())) == 1
    assert set(helps["--resume"]) == {"align", "adapt"}


def test_options_win_over_the_file_and_set_wins_over_both(tmp_path):
    (tmp_path / "a.yaml").write_text("data: photos\nepochs: 7\nbatch: 8\nseed: 1\ntext: {prompts: 2, depth: 3}\n")
    found = asked(
        AlignSettings, "--config", tmp_path / "a.yaml", "--batch", 9, "--seed", 2, "--set", "seed=3", "--text-depth", 4
    )
    assert (found.data, found.epochs, found.batch, found.seed) == ("photos", 7, 9, 3)
    assert (found.text.prompts, found.text.depth) == (2, 4)


def test_a_method_is_named_by_its_option_and_keeps_its_settings(tmp_path):
    (tmp_path / "a.yaml").write_text("data: pets\nencoder: clip\nmethod: {name: coop, depth: 3}\n")
    found = asked(AdaptSettings, "--config", tmp_path / "a.yaml", "--method", "maple", "--set", "method.context=4")
    assert found.method == {"name": "maple", "depth": 3, "context": 4}
    (tmp_path / "a.yaml").write_text("data: pets\nencoder: clip\nmethod: maple\n")
    assert asked(AdaptSettings, "--config", tmp_path / "a.yaml", "--set", "method.depth=2").method["depth"] == 2
    (tmp_path / "a.yaml").write_text("data: pets\nencoder: clip\nmethod: maple\nterms: promptsrc\n")
    assert asked(AdaptSettings, "--config", tmp_path / "a.yaml").terms == {"promptsrc": {}}
    found = asked(AdaptSettings, "--config", tmp_path / "a.yaml", "--set", "terms.promptsrc.text=5")
    assert found.terms == {"promptsrc": {"text": 5}}


WRONG = [
    ("epoch: 3", [], "a.yaml: no setting is called 'epoch'. Did you mean epochs?"),
    ("text: {promts: 3}", [], "a.yaml: no setting is called 'text.promts'. Did you mean text.prompts"),
    ("epochs: true", [], "a.yaml: epochs is True; it should be a valid integer."),
    ("epochs: '3'", [], "a.yaml: epochs is '3'; it should be a valid integer."),
    ("rate: yes", [], "a.yaml: rate is 'yes'; it should be a valid number."),
    ("cache: 1", [], "a.yaml: cache is 1; it should be a valid boolean."),
    ("data: 3", [], "a.yaml: data is 3; it should be a valid string."),
    ("text: {words: [a, 3]}", [], "a.yaml: text.words is ['a', 3]; it should be a valid string."),
    ('name: "\\ud800"', [], "a.yaml: name is '\\ud800'; it holds half a character"),
    ("loss: 3", [], "a.yaml: loss is 3; it holds settings of its own: loss.contrast"),
    ("epochs: 0", ["--epochs", 3], "a.yaml: epochs is 0; it should be greater than or equal to 1."),
    ("", ["--epochs", 0], "--epochs: epochs is 0; it should be greater than or equal to 1."),
    ("", ["--seed", 2**70], "--seed: seed is 1180591620717411303424; it should be at most 4,294,967,295"),
    ("", ["--dim", 30_000_000], "--dim: dim is 30000000; it should be less than or equal to 65536."),
    ("", ["--set", "text.promts=3"], "--set: no setting is called 'text.promts'. Did you mean text.prompts"),
    ("", ["--set", "rate=nan"], "--set: rate is 'nan'; it should be a valid number."),
    ("", ["--set", "rate=.nan"], "--set: rate is nan; it should be a finite number."),
    ("", ["--set", "epochs"], "--set 'epochs': write key=value"),
    ("", ["--set", "=3"], "--set: no setting is called ''."),
    ("", ["--set", "text..depth=3"], "--set: no setting is called 'text.'."),
]


@pytest.mark.parametrize(("text", "words", "expected"), WRONG, ids=lambda value: str(value)[:30])
def test_a_mistake_is_told_with_the_place_it_stands_in(text, words, expected, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    where = "^" if expected.startswith("--") else ".*"
    with pytest.raises(ConfigError, match=where + re.escape(expected)):
        asked(AlignSettings, "photos", "--config", tmp_path / "a.yaml", *words)


def test_a_mistake_in_a_methods_settings_is_told_with_its_place(tmp_path):
    (tmp_path / "a.yaml").write_text("method: {name: maple, dpth: 3}\n")
    plain = ["pets", "--encoder", "clip", "--method", "maple"]
    with pytest.raises(ConfigError, match=r"a.yaml: no setting is called 'method.dpth'. Did you mean method.depth"):
        asked(AdaptSettings, *plain, "--config", tmp_path / "a.yaml")
    for assignment, expected in (
        ("method.dpth=3", "--set: no setting is called 'method.dpth'. Did you mean method.depth"),
        ("method.depth=true", "--set: method.depth is True; it should be a valid integer."),
        (
            "terms.promptsrc.txt=3",
            "--set: no setting is called 'terms.promptsrc.txt'. Did you mean terms.promptsrc.text",
        ),
        ("terms.promptsrc.text=true", "--set: terms.promptsrc.text is True; it should be a valid number."),
        ("terms=promptscr", "Did you mean 'promptsrc'"),
    ):
        with pytest.raises(ConfigError, match=re.escape(expected)):
            asked(AdaptSettings, *plain, "--set", assignment)
    nested = ["pets", "--encoder", "clip", "--method", "promptsrc"]
    for assignment, expected in (
        ("method.consistency.txt=3", "--set: no setting is called 'method.consistency.txt'. Did you mean"),
        ("method.consistency=yes", "--set: method.consistency is 'yes'; it holds settings of its own"),
    ):
        with pytest.raises(ConfigError, match=re.escape(expected)):
            asked(AdaptSettings, *nested, "--set", assignment)


def test_what_has_to_be_given_is_asked_for():
    with pytest.raises(ConfigError, match=r"data is not given. Captioned pictures: "):
        asked(AlignSettings)
    with pytest.raises(ConfigError, match=r"encoder is not given. ViT-B-16/openai, "):
        asked(AdaptSettings, "pets", "--method", "maple")


@pytest.mark.parametrize(
    "text", ["2020-02-30", "5", "1e5", "true", "null?", "[a", "a: b", "{x}", "!!int x", "*a", "", " "]
)
def test_a_text_stays_what_it_is(text):
    name = next(one for one in settings_of(AlignSettings) if one.name == "name")
    assert read(text, name) == text
    split = next(one for one in settings_of(AlignSettings) if one.name == "dev_split")
    assert read(text, split) == text
    assert read("None", split) is None


NAMED = ("data", "encoder", "test", "also", "task", "descriptions", "start_from", "text.tower", "image.tower")


@BOTH
def test_what_names_a_file_or_a_folder_is_not_empty(kind, table):
    for name in set(NAMED) & set(table):
        given = f"--set={name}=['']" if isinstance(table[name][1], tuple) else f"--set={name}="
        with pytest.raises(ConfigError, match=rf"{name} is .*; it is empty; give a value, or leave it out\."):
            asked(kind, *given_for(kind, table), given)
