"""What can be asked, as the API's documents show it: fields, their limits, what they mean."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from polyprompt.data.names import check_class_names
from polyprompt.errors import DataError
from polyprompt.inputs import LETTERS
from polyprompt.search.query import LARGEST_WEIGHT

ITEMS = 256
"""Texts and pictures of one request."""
PICTURES = 64
"""Pictures of one request among them."""
TOP = 1_000
"""Results of one request."""


def readable(text: str) -> str:
    """A text that says something, in whole characters."""
    if not text.strip():
        raise ValueError("a text is empty")
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("a text holds half a character (a lone surrogate)")
    return text


def distinct(labels: list[str]) -> list[str]:
    """Names that a text model can tell apart."""
    try:
        return [*check_class_names(labels)]
    except DataError as error:
        raise ValueError(str(error)) from None


Text = Annotated[str, StringConstraints(max_length=LETTERS), AfterValidator(readable)]
Uri = Annotated[str, Field(description="data:image/...;base64,... Addresses are not fetched, paths not opened.")]
Row = Annotated[int, Field(ge=0, lt=2**31, description="The `row` of a result.")]
Weight = Annotated[float, Field(ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT, allow_inf_nan=False)]


class RequestBody(BaseModel):
    """Unknown fields are refused, so that a misspelt one is not taken for one that is missing."""

    model_config = ConfigDict(extra="forbid")


class TextItem(RequestBody):
    """A text."""

    text: Text


class ImageItem(RequestBody):
    """A picture."""

    image: Uri


def _kind(value: object) -> str | None:
    if isinstance(value, list):
        return "list"
    if isinstance(value, str):
        return "string"
    picture = isinstance(value, ImageItem) or (isinstance(value, dict) and "image" in value)
    return "image" if picture else "text" if isinstance(value, dict | TextItem) else None


Item = Annotated[
    Annotated[str, Tag("string")] | Annotated[TextItem, Tag("text")] | Annotated[ImageItem, Tag("image")],
    Discriminator(
        _kind,
        custom_error_type="no_text_or_picture",
        custom_error_message='give a string, {"text": ...} or {"image": "data:image/..."}; token ids are not read',
    ),
]
Items = Annotated[list[Item], Field(min_length=1, max_length=ITEMS)]


class Embed(BaseModel):
    """A request for embeddings, as OpenAI's clients make it; fields that mean nothing here are passed over."""

    model: str = Field(description="An id from /v1/models.")
    input: Annotated[
        Annotated[str, Tag("string")] | Annotated[Items, Tag("list")],
        Discriminator(
            lambda value: kind if (kind := _kind(value)) in ("list", "string") else None,
            custom_error_type="no_input",
            custom_error_message="give a string or a list",
        ),
    ] = Field(description="Texts and pictures, mixed as you like. A string that begins `data:image/` is a picture.")
    modality: Literal["text", "image"] | None = Field(
        None, description="What plain strings are, where their beginning is not to decide."
    )
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: float32, little-endian.")
    dimensions: int | None = Field(None, description="None, or all that there are: a row cut short loses its aspects.")
    user: str | None = Field(None, description="Not used.")


class Search(RequestBody):
    """A question to a collection. Without anything wanted, pictures are listed."""

    collection: str = Field(description="An id from /collections.")
    text: Text | None = None
    like: list[Uri] = Field([], max_length=8, description="Pictures to search by.")
    like_rows: list[Row] = Field([], max_length=64, description="Pictures of the collection to search by.")
    unwanted: list[Text] = Field([], max_length=8, alias="not", description="What is not to be found.")
    adapted: str | None = Field(None, max_length=64, description="The `id` that /adapt gave, in place of a text.")
    weights: list[Weight] | None = Field(None, max_length=512, description="One for each aspect.")
    where: str | None = Field(None, max_length=2_000, description="As in SQL: `year >= 2020 and name like '%.png'`.")
    fold: float | None = Field(None, ge=-1, le=1, description="Hits this alike (cosine) are folded into one.")
    top: int = Field(20, ge=1, le=TOP)
    exact: bool = Field(False, description="Whether all rows are scored, whatever codes there are.")


Labels = Annotated[
    list[Annotated[Text, StringConstraints(max_length=200)]],
    Field(min_length=2, max_length=ITEMS, description="Names of classes, any words."),
    AfterValidator(distinct),
]


class Classify(RequestBody):
    """Pictures to be told apart by words."""

    model: str = Field(description="An id from /v1/models.")
    input: Annotated[list[Uri], Field(min_length=1, max_length=PICTURES)]
    labels: Labels


class Sort(RequestBody):
    """Pictures of a collection to be told apart by words."""

    rows: Annotated[list[Row], Field(min_length=1, max_length=TOP)]
    labels: Labels


class Marks(RequestBody):
    """Pictures of a collection that show something, and others that do not."""

    text: Text | None = Field(None, description="What is looked for, in a few words.")
    right: Annotated[list[Row], Field(min_length=1, max_length=64)]
    wrong: Annotated[list[Row], Field(min_length=1, max_length=64)]


class Session(RequestBody):
    """The server's token, for a browser."""

    token: Annotated[str, StringConstraints(max_length=1_000)]
