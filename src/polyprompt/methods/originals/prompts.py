"""Checkpoints of the first prompt learners: CoOp, CoCoOp, VPT, IVLP and its text half, MaPLe, PromptSRC.

What they start from is not in their files: `words`.
"""

from polyprompt.methods.originals.layout import Checkpoint, Layout, Settings, Tensors, coupled_name

TEACHER = "prompt_learner.ZS_image_encoder."
RESIDENT_WORDS = "a photo of a"
"""What MaPLe, IVLP and PromptSRC start contexts of up to 4 vectors from; longer ones start at random."""
BLOCK = r"{}_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow"


def resident_words(read: Checkpoint, context: int) -> str:
    """What a context of so many vectors started from."""
    return read.words if read.words is not None else RESIDENT_WORDS if context <= 4 else ""


def _deep(read: Checkpoint, tower: str) -> int:
    return 1 + len(read.numbers(BLOCK.format(tower)))


def _coop(read: Checkpoint) -> Settings:
    *classes, context, _ = read.shape("prompt_learner.ctx", 2, 3)
    return {"context": context, "words": read.words or "", "position": read.position, "per_class": bool(classes)}


def _cocoop(read: Checkpoint) -> Settings:
    reduction = read.narrowed("prompt_learner.meta_net.linear1.weight")
    return {"context": read.shape("prompt_learner.ctx")[0], "words": read.words or "", "reduction": reduction}


def _vpt(read: Checkpoint) -> Settings:
    return {"context": read.shape("image_encoder.VPT")[0], "depth": _deep(read, "image")}


def _language(read: Checkpoint) -> Settings:
    context, _ = read.shape("prompt_learner.ctx")
    return {"context": context, "depth": _deep(read, "text"), "words": resident_words(read, context)}


def _both(read: Checkpoint) -> Settings:
    context, _ = read.shape("prompt_learner.ctx")
    known: Settings = {
        "text_context": context,
        "text_depth": _deep(read, "text"),
        "words": resident_words(read, context),
    }
    if "image_encoder.VPT" not in read.tensors and read.name == "ivlp":
        return known | {"image_depth": 0}
    return known | {"image_depth": _deep(read, "image"), "image_context": read.shape("image_encoder.VPT")[0]}


def _maple(read: Checkpoint) -> Settings:
    context, _ = read.shape("prompt_learner.ctx")
    deep = len(read.numbers(r"prompt_learner\.compound_prompts_text\.(\d+)"))
    return {"context": context, "depth": 1 + deep, "words": resident_words(read, context)}


def _without_text(tensors: Tensors) -> Tensors:
    return {key: value for key, value in tensors.items() if not key.startswith("text_encoder.")}


def _with_teacher(tensors: Tensors) -> Tensors:
    return tensors | {TEACHER + k.removeprefix("image_encoder."): v for k, v in tensors.items() if "image_encoder" in k}


LAYOUTS = {
    "coop": Layout(folders=("prompt_learner",), alone="prompt_learner.", settings=_coop, needs_names=False, words=True),
    "cocoop": Layout(
        folders=("prompt_learner",), alone="prompt_learner.", settings=_cocoop, needs_names=False, words=True
    ),
    "vpt": Layout(folders=("prompt_learner",), settings=_vpt, needs_names=False, frozen=_without_text),
    "language": Layout(folders=("VLPromptLearner",), settings=_language, needs_names=False, words=True),
    "ivlp": Layout(folders=("VLPromptLearner",), settings=_both, needs_names=False, words=True),
    "maple": Layout(
        folders=("MultiModalPromptLearner",), settings=_maple, theirs=coupled_name, needs_names=False, words=True
    ),
    "promptsrc": Layout(
        folders=("VLPromptLearner",), settings=_both, needs_names=False, words=True, frozen=_with_teacher
    ),
}
