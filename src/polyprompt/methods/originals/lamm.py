"""LAMM's checkpoints, from reading its program: the tokens of the class names alone, or with MaPLe a whole model."""

from pathlib import Path

import torch

from polyprompt.adapt.engine import Adapted, MethodConfig
from polyprompt.errors import FileError
from polyprompt.methods import lamm
from polyprompt.methods.originals.layout import Checkpoint, Layout, Settings, Tensors

TOKENS, START, CONTEXT = (f"prompt_learner.{key}" for key in ("token_classes", "fix_token", "ctx"))


def _settings(read: Checkpoint) -> Settings:
    """And what stands around the tokens: in a whole model MaPLe's prompts, else words, or a context that left them."""
    context, _ = read.shape(CONTEXT)
    deep = len(read.numbers(r"prompt_learner\.compound_prompts_text\.(\d+)"))
    words = str(read.given.get("words", read.words or lamm.Config().words))
    known: Settings = {"context": context, "depth": 1 + deep, "words": words}
    if "prompt_learner.proj.weight" in read.tensors:
        return known | {"beside": "maple"}
    text, theirs = read.encoder.text, read.tensors[CONTEXT]
    vectors = text.vectors(text.words(words)).float().cpu()
    plain = theirs.shape == vectors.shape and bool((theirs - vectors).abs().max() < 1e-3)
    return known | {"beside": "words" if plain else "coop"}


def _check(method: Adapted, tensors: Tensors, file: Path) -> None:
    """Compares what the tokens started from with the class names' own.

    Raises:
        FileError: other names, or another count of tokens.
    """
    assert isinstance(method.adapter, lamm.LAMM)
    start, theirs = method.adapter.start, tensors.pop(START, None)
    if theirs is not None and (theirs.shape != start.shape or not (theirs - start.cpu()).abs().max() <= 1e-3):
        raise FileError(
            f"{file}: its tokens did not start as those of {', '.join(method.class_names[:3])}; other classes"
        )
    if method.adapter.config.beside == "words":
        tensors.pop(CONTEXT, None)


@torch.no_grad()
def _beside(method: Adapted) -> Tensors:
    """Where the tokens began, and the words of a context that stays."""
    adapter, text = method.adapter, method.encoder.text
    assert isinstance(adapter, lamm.LAMM)
    saved = {START: adapter.start.detach().float().cpu()}
    if adapter.config.beside == "words":
        saved[CONTEXT] = text.vectors(text.words(adapter.config.words)).float().cpu()
    return saved


def _theirs(name: str) -> str:
    if name == "tokens":
        return TOKENS
    _, kind, *rest = name.split(".")
    if kind == "context" or [kind, *rest] == ["text", "0"]:
        return CONTEXT
    layer, *part = rest
    if kind == "text":
        return f"prompt_learner.compound_prompts_text.{int(layer) - 1}"
    where = "proj" if layer == "0" else f"compound_prompt_projections.{int(layer) - 1}"
    return f"prompt_learner.{where}.{part[0]}"


def _whole(config: MethodConfig) -> bool:
    assert isinstance(config, lamm.Config)
    return config.beside == "maple"


LAYOUTS = {
    "lamm": Layout(
        folders=("prompt_learner", "MultiModalPromptLearner"),
        alone="prompt_learner.",
        whole=_whole,
        theirs=_theirs,
        settings=_settings,
        check=_check,
        beside=_beside,
    ),
}
