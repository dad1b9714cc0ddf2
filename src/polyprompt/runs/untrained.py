"""The method that resolved settings of `adapt` describe, before anything is trained."""

from collections.abc import Sequence

from polyprompt.adapt.descriptions import read_descriptions, with_descriptions
from polyprompt.adapt.engine import Adapted, MethodConfig, build
from polyprompt.adapt.terms import TermConfig
from polyprompt.runs.resolve import terms_of
from polyprompt.runs.saved import config_from
from polyprompt.runs.settings import AdaptSettings
from polyprompt.towers.base import DualEncoder
from polyprompt.values import Foreign


def untrained(
    settings: AdaptSettings,
    encoder: DualEncoder,
    class_names: Sequence[str],
    *,
    keep: bool = False,
    twins: Sequence[str] = (),
) -> Adapted:
    """The method of resolved settings, untrained."""
    config, terms = configs_of(settings)
    return build(config, encoder, class_names, seed=settings.seed, extra=terms, keep=keep, twins=twins)


def configs_of(settings: AdaptSettings) -> tuple[MethodConfig, list[TermConfig]]:
    """That of the method, and those of terms beside its own."""
    named = dict(settings.method)
    both: list[Foreign] = [config_from(named.pop("name"), named), *terms_of(settings)]
    if settings.descriptions is not None:
        both = with_descriptions(both, read_descriptions(settings.descriptions, settings.seed))
    return both[0], both[1:]
