"""BMIP's checkpoints, from reading its program, which saves layers that it never uses; they are not written."""

from polyprompt.methods.originals.layout import Checkpoint, Layout, Settings
from polyprompt.methods.originals.prompts import resident_words


def _theirs(name: str) -> str:
    kind, _, rest = name.partition(".")
    index, _, part = rest.partition(".")
    match kind:
        case "text" if index == "0":
            return "prompt_learner.ctx_t"
        case "text":
            return f"prompt_learner.compound_prompts_text.{int(index) - 1}"
        case "image":
            return f"prompt_learner.compound_prompts_visual.{index}"
        case "image_gates":
            return f"image_encoder.transformer.resblocks.{int(index) + 1}.learnable_linear1.{part}"
        case "text_gates":
            return f"text_encoder.transformer.resblocks.{int(index) + 1}.learnable_linear2.bias"
        case _:
            theirs = {"first": "proj_t", "to_image": "single_layer_t", "to_text": "single_layer_v"}[kind]
            return f"prompt_learner.{theirs}.{rest}"


def _settings(read: Checkpoint) -> Settings:
    context = read.shape("prompt_learner.ctx_t")[0]
    deep = len(read.numbers(r"prompt_learner\.compound_prompts_text\.(\d+)"))
    return {"context": context, "depth": 1 + deep, "words": resident_words(read, context)}


LAYOUTS = {
    "bmip": Layout(
        folders=("MultiModalPromptLearner",),
        theirs=_theirs,
        settings=_settings,
        needs_names=False,
        words=True,
        left=r"prompt_learner\.(ctx_v$|proj_v\.|exchange_layer_[tv]\.)"
        r"|(image|text)_encoder\.transformer\.resblocks\.\d+\.learnable_linear[12]\.",
    ),
}
