"""What is not given is what was published; what cannot be is told."""

import pytest
from toy_adapt import MAPLE, quick

from polyprompt.errors import ConfigError
from polyprompt.runs.adapt import adapt
from polyprompt.runs.resolve import resolved
from polyprompt.runs.saved import load_adapter
from polyprompt.runs.settings import AdaptSettings


def test_settings_that_are_not_given_are_the_published_ones(photos):
    plain = {"data": str(photos), "encoder": "x"}
    found = resolved(AdaptSettings(method="maple", protocol="base-to-novel", **plain))
    assert (found.epochs, found.batch, found.rate) == (5, 4, 0.0035)
    assert (found.method["depth"], found.method["context"]) == (9, 2)
    assert (found.optimizer, found.weight_decay, found.schedule) == ("sgd", 5e-4, "published")
    assert (found.views, resolved(AdaptSettings(method="coprompt", **plain)).views) == ("crops", "randaugment")
    found = resolved(AdaptSettings(method="maple", protocol="cross-dataset", **plain))
    assert (found.epochs, found.rate, found.method["depth"]) == (2, 0.0026, 3)
    found = resolved(AdaptSettings(method="coop", **plain))
    assert (found.epochs, found.batch, found.method["context"]) == (200, 32, 16)
    shots = (1, 2, 4, 8, 16, None)
    found = [resolved(AdaptSettings(method="coop", shots=count, **plain)).epochs for count in shots]
    assert found == [50, 100, 100, 200, 200, 200]
    found = resolved(AdaptSettings(method={"name": "promptsrc", "consistency": {"std": 5.0}}, epochs=7, **plain))
    assert (found.epochs, found.method["consistency"]["mean"], found.method["consistency"]["std"]) == (7, 30.0, 5.0)
    found = resolved(AdaptSettings(method="zeroshot", **plain))
    assert (found.epochs, found.method["templates"]) == (None, ("a photo of a {}.",))


@pytest.mark.outside("import")
def test_a_method_of_ones_own_says_its_epochs(photos, tmp_path, import_from, encoder):
    (tmp_path / "my_lab.py").write_text("from polyprompt.methods.coop import Config\n\n__all__ = ['Config']\n")
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "lab.py").write_text(
        "from dataclasses import dataclass\n"
        "from polyprompt.methods import coop\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Config:\n"
        "    words: str = 'a photo'\n\n"
        "    def build(self, encoder, names, draw):\n"
        "        return coop.Config(context=2, words=self.words).build(encoder, names, draw)\n"
    )
    import_from(tmp_path)
    with pytest.raises(ConfigError, match=r"epochs is not given, and my\.lab publishes no settings"):
        resolved(AdaptSettings(data=str(photos), encoder="x", method="my.lab"))
    adapt(quick(photos, "my.lab"), tmp_path / "run", encoder=encoder)
    assert load_adapter(tmp_path / "run" / "model", encoder).config.words == "a photo"


def test_settings_that_cannot_be(photos):
    for method, message in (
        ({"name": "mapel"}, r"no method is called 'mapel'\. Did you mean 'maple'"),
        (MAPLE | {"dept": 2}, r"maple: no setting is called 'dept'\. Did you mean depth"),
        (MAPLE | {"depth": "two"}, "maple: depth is 'two'; it should be a valid integer"),
        ({"depth": 2}, "method has no name"),
        ({"name": "promptsrc", "consistency": {"mean": 900.0, "std": 1.0}}, "give each of the 3 epochs the weight 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolved(quick(photos, method))
