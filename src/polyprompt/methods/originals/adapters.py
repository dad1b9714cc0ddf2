"""Checkpoints of newer methods that need no more than names and shapes.

Those of MMA, MMRL, KgCoOp, ProGrad, TCP and CoPrompt are from reading their programs; unused layers of KgCoOp and
CoPrompt's frozen copy are passed over, and not written.
"""

from polyprompt.methods.originals.layout import Checkpoint, Layout, Settings, coupled_name


def _clip_adapter(read: Checkpoint) -> Settings:
    return {"reduction": read.narrowed("adapter.fc.0.weight")}


def _vdt_adapter(read: Checkpoint) -> Settings:
    attends = "adapter.attn.w_qs.weight" in read.tensors
    kind, first = ("self_attn", "attn.w_qs") if attends else ("linear_residual", "fc.0")
    return {"kind": kind, "reduction": read.narrowed(f"adapter.{first}.weight")}


def _mma(read: Checkpoint) -> Settings:
    levels = read.numbers(r"adapter_learner\.text_adapter\.(\d+)\.") or [0]
    width, _ = read.shape(f"adapter_learner.text_adapter.{levels[0]}.down.0.weight")
    return {"start": levels[0], "end": levels[-1], "width": width}


def _mmrl(read: Checkpoint) -> Settings:
    tokens, space = read.shape("representation_learner.compound_rep_tokens")
    count = len(read.numbers(r"representation_learner\.compound_rep_tokens_r2vproj\.(\d+)\."))
    depth = max(read.encoder.image.depth, count)  # of fewer blocks, the encoder says that they are not there
    return {"tokens": tokens, "space": space, "layers": list(range(depth - count + 1, depth + 1))}  # the upper ones


def _one_context(read: Checkpoint) -> Settings:
    *classes, context, _ = read.shape("prompt_learner.ctx", 2, 3)
    random = classes or (read.name == "kgcoop" and context != 4)
    words: Settings = {"words": ""} if random else {}
    return words | {"context": context, "per_class": bool(classes)}


def _tcp(read: Checkpoint) -> Settings:
    context, width = read.shape("prompt_learner.ctx")
    made, _ = read.shape("prompt_learner.meta_net.linear2.weight")
    reduction = read.narrowed("prompt_learner.meta_net.linear1.weight")
    return {"context": context, "tokens": made // max(width, 1), "reduction": reduction}


def _coprompt(read: Checkpoint) -> Settings:
    context, _ = read.shape("prompt_learner.ctx")
    deep = len(read.numbers(r"prompt_learner\.compound_prompts_text\.(\d+)"))
    reduction = read.narrowed("adapter_image.fc.0.weight")
    known: Settings = {"context": context, "depth": 1 + deep, "reduction": reduction}
    return known | ({"words": ""} if context > 4 else {})


def _of_mmrl(name: str) -> str:
    return f"{'image_encoder' if name == 'proj_rep' else 'representation_learner'}.{name}"


def _of_coprompt(name: str) -> str:
    kind, _, rest = name.partition(".")
    return f"{kind}.fc.{rest}" if kind in ("adapter_text", "adapter_image") else coupled_name(name)


LAYOUTS = {
    "clip_adapter": Layout(
        folders=("clip_adapter",), alone="adapter.", theirs="adapter.{}".format, settings=_clip_adapter
    ),
    "vdt_adapter": Layout(
        folders=("clip_adapter_gpt",), alone="adapter.", theirs="adapter.{}".format, settings=_vdt_adapter
    ),
    "mma": Layout(
        folders=("adapter_learner",),
        alone="adapter_learner.",
        theirs="adapter_learner.{}".format,
        settings=_mma,
        begins=(),  # its start is a level
    ),
    "mmrl": Layout(folders=("MultiModalRepresentationLearner",), theirs=_of_mmrl, settings=_mmrl),
    "kgcoop": Layout(
        folders=("prompt_learner",),
        alone="prompt_learner.",
        settings=_one_context,
        left=r"prompt_learner\.(bias_vectors$|meta_net\.linear1\.)",
    ),
    "prograd": Layout(folders=("prompt_learner",), alone="prompt_learner.", settings=_one_context),
    "tcp": Layout(folders=("prompt_learner",), alone="prompt_learner.", settings=_tcp),
    "coprompt": Layout(
        folders=("MultiModalPromptLearner",), theirs=_of_coprompt, settings=_coprompt, left=r"model_distill\."
    ),
}
