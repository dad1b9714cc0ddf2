"""Texts to ids, against the tokenizers that they come from; control tokens in a text are text."""

import pytest
from open_clip.tokenizer import SimpleTokenizer
from toy_decoders import tokenizer

from polyprompt.errors import TowerError
from polyprompt.towers.words import huggingface_words, openai_words

TEXTS = ["a photo of a cat.", "Größe  &amp; 42 DOGS!", "naïve façade 🙂", "it's"]


def test_clips_ids_are_open_clips():
    words, theirs = openai_words(), SimpleTokenizer(context_length=20)
    for text in TEXTS:
        row = theirs(text)[0].tolist()
        assert [*words.start, *words.encode(text), *words.end] == row[: row.index(words.end[0]) + 1]
        assert words.decode(words.encode("two dogs")).strip() == "two dogs"
    assert words.vocabulary == theirs.vocab_size == 49408


def test_a_control_token_in_a_text_is_its_letters():
    ids = openai_words().encode("a <end_of_text> b")
    assert not {*openai_words().start, *openai_words().end} & set(ids)
    assert openai_words().decode(ids).replace(" ", "") == "a<end_of_text>b"
    words = huggingface_words(tokenizer())
    assert words.decode(words.encode("<s> x <end>")) == "<s> x <end>"
    assert not {*words.start, *words.end} & set(words.encode("<s> x <end>"))


def test_start_and_end_are_what_the_tokenizer_adds():
    theirs = tokenizer()
    words = huggingface_words(theirs, clean=str.lower, pad=7)
    for text in ("Hello", "x"):
        assert [*words.start, *words.encode(text), *words.end] == theirs(text.lower())["input_ids"]
    assert (words.pad, words.vocabulary) == (7, len(theirs))
    assert huggingface_words(theirs).pad == (theirs.pad_token_id or 0)


def test_a_tokenizer_without_words_is_refused():
    with pytest.raises(TowerError, match="has no id for the word 'a'"):
        huggingface_words(tokenizer(), clean=lambda text: "")
