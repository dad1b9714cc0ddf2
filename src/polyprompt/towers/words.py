"""From text to token ids, as a pretrained text tower expects them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from polyprompt.errors import TowerError
from polyprompt.values import Foreign


@dataclass(frozen=True, slots=True)
class Words:
    """A tokenizer, reduced to what a text tower needs."""

    encode: Callable[[str], list[int]]
    """Token ids of a text, without start and end tokens."""
    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    vocabulary: int
    """Number of ids; the tower needs a vector for each."""
    decode: Callable[[list[int]], str] | None = None
    """From ids back to text."""


@cache
def openai_words() -> Words:
    """The byte-pair encoding of OpenAI's CLIP (49,408 ids, lower case), as open_clip ships it.

    Text is text: "<end_of_text>" in a class name becomes its letters, where open_clip's own ends the text there.
    """
    import regex
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    pieces = tokenizer.pat.pattern.removeprefix("<start_of_text>|<end_of_text>|")
    tokenizer.pat = regex.compile(pieces, regex.IGNORECASE)
    return Words(
        tokenizer.encode,
        start=(tokenizer.sot_token_id,),
        end=(tokenizer.eot_token_id,),
        pad=0,
        vocabulary=tokenizer.vocab_size,
        decode=tokenizer.decode,
    )


@dataclass(frozen=True, slots=True)
class _Encode:
    """A transformers tokenizer as a function that can be pickled; control tokens in a text are text."""

    tokenizer: Foreign
    clean: Callable[[str], str]

    def __call__(self, text: str) -> list[int]:
        return self.tokenizer(self.clean(text), add_special_tokens=False, split_special_tokens=True)["input_ids"]


def huggingface_words(tokenizer: Foreign, *, clean: Callable[[str], str] = str, pad: int | None = None) -> Words:
    """A transformers tokenizer; its own start and end tokens are found by looking at what it adds to a word.

    Args:
        clean: what upstream does to a text first.
        pad: the id behind the end token, where it is not the tokenizer's own.
    """

    encode = _Encode(tokenizer, clean)
    bare, full = encode("a"), tokenizer(clean("a"))["input_ids"]
    places = [i for i in range(len(full)) if full[i : i + len(bare)] == bare]
    if not bare or not places:
        raise TowerError(f"{tokenizer.name_or_path}: this tokenizer has no id for the word 'a'")
    start, end = full[: places[0]], full[places[0] + len(bare) :]
    pad = tokenizer.pad_token_id if pad is None else pad
    return Words(encode, tuple(start), tuple(end), 0 if pad is None else pad, len(tokenizer), tokenizer.decode)
