"""What a grid is made of; nothing heavy is imported, since the command line checks it."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from polyprompt.settings import Settings
from polyprompt.values import Json, Values


def _listed(value: object) -> object:
    """One name stands for a list of it, and so does one method with settings."""
    return (value,) if isinstance(value, str | int | dict) else tuple(value) if isinstance(value, list) else value


Name = Annotated[str, Field(min_length=1)]
"""Of a set or an encoder."""


class GridSettings(Settings):
    """A grid: every method on every encoder and set, with every seed. Each option is a list; one name will do."""

    protocol: str
    """A name from `polyprompt run --help`."""
    methods: Annotated[tuple[str | Json, ...], BeforeValidator(_listed)] = ()
    """Names from `polyprompt methods`; in a recipe {name: maple, depth: 3, called: deep, training: {rate: 0.1}}."""
    data: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()
    """Sets, by their names; those of the published tables if not given."""
    encoders: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()
    """ViT-B-16/openai, a hub id, a file, a folder, a run of align."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_listed)] = (1, 2, 3)
    """Of the draw and of training."""
    shots: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_listed)] = ()
    """Training pictures a class; the protocol's if not given."""
    split: str = "test"
    """Which split of captions or of sentences is scored."""
    settings: Values = Field(default_factory=dict)
    """Settings of `adapt` that hold for every cell: {epochs: 5, augment: true}."""
