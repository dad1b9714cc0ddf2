"""Reading golden cases: everything, sizes and names included, comes from their files."""

import json
import os
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms.promptsrc import Config as Consistency
from polyprompt.adapt.view import PixelPictures
from polyprompt.methods import (
    bmip,
    clip_adapter,
    clip_lora,
    cocoop,
    coop,
    coprompt,
    ivlp,
    kgcoop,
    lamm,
    language,
    maple,
    mma,
    mmrl,
    prograd,
    promptsrc,
    taskres,
    tcp,
    tip_adapter,
    vdt_adapter,
    vpt,
    zeroshot,
)
from polyprompt.methods.originals import original_names
from polyprompt.zoo.openai import from_openai

FOLDER = Path(__file__).parent / "golden"
GIVEN = os.environ.get("POLYPROMPT_GOLDEN", "").split(os.pathsep)
FOLDERS = [Path(folder) for folder in GIVEN if folder] or [FOLDER]
"""Ours, or, instead of it, those that POLYPROMPT_GOLDEN names, joined by the system's path separator."""
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}
TERMS = {
    "ce": "cross_entropy", "scl_text": "text_drift", "scl_image": "image_drift", "scl_logits": "logit_drift",
    "ce_rep": "representation", "reg_image": "image_drift", "reg_text": "text_drift",
    "kg": "knowledge", "text": "text_consistency", "image": "image_consistency",
    "parameter": "token_drift", "feature": "feature_drift", "logits": "logit_drift",
}  # fmt: skip
"""Our terms for the authors' ones."""
KEPT = {"q": "query", "k": "key", "v": "value", "o": "out"}
VECTORS = ("CLIP_Adapter", "TaskRes", "CLIP_Adapter_gpt")
"""Trainers that work on finished vectors."""


IDLE = re.compile(r"text_encoder\..*learnable_linear2\.weight")
"""What a loss reaches with a gradient of 0: BMIP's slope of attention that the causal mask makes 0."""


def found() -> dict[str, Path]:
    """Every case in the folders, a pair of a json and a safetensors file, by name."""
    cases: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in sorted(folder.glob("*.json")):
            if path.with_suffix(".safetensors").exists():
                cases[path.stem if path.stem not in cases else f"{folder.name}/{path.stem}"] = path.with_suffix("")
    return cases


def names() -> list[str]:
    """The names of the cases."""
    return sorted(found())


def checkpoints() -> list[str]:
    """Folders of checkpoints with logits beside them; a suffix behind a case's name: another file of the same case."""
    return sorted(
        path.name
        for folder in FOLDERS
        for path in (folder / "checkpoints").glob("*")
        if path.is_dir() and any(path.name.startswith(one.stem) for one in path.parent.glob("*.json"))
    )


def adapters() -> dict[str, Path]:
    """Folders of adapters' checkpoints, which must give the `after.logits` of the case that they are named after."""
    known = ("clip_adapter", "clip_lora", "taskres", "mma", "mmrl", "vdt")
    return {
        path.name: path
        for folder in FOLDERS
        for path in (folder / "checkpoints").glob("*")
        if path.is_dir() and path.name.startswith(known) and path.name in found()
    }


def write_clip(path: Path) -> Path:
    """A toy CLIP in a file, as `load_encoder` opens it."""
    case = Case(next(name for name in checkpoints() if name in found()))
    save_file({name: tensor.contiguous() for name, tensor in case.state.items()}, path)
    return path


class Case:
    """One golden case."""

    def __init__(self, name: str) -> None:
        self.name, path = name, found()[name]
        self.facts = json.loads(path.with_suffix(".json").read_text())
        self.tensors = {key: widened(value) for key, value in load_file(path.with_suffix(".safetensors")).items()}
        self.tolerance = self.facts.get("tolerance", TOLERANCE)
        self.class_names = self.facts["classnames"]
        self.recorded = self.facts["recorded"]

    @property
    def learnable(self) -> dict[str, list[int]]:
        """What moves in the authors' run, and shapes."""
        left = self.recorded.get("no_gradient", ())
        return {
            key: shape for key, shape in self.recorded["learnable"].items() if key not in left and not IDLE.match(key)
        }

    def using(self, method: Any) -> Any:
        """As the authors predict: BMIP a batch together, as while training."""
        return method.train(self.facts["trainer"] == "BMIP")

    @property
    def state(self) -> dict[str, Tensor]:
        state = {k.removeprefix("clip."): v for k, v in self.tensors.items() if k.startswith("clip.")}
        ids, rows = state.pop("token_embedding.ids"), state.pop("token_embedding.rows")
        embedding = torch.zeros(int(state["vocab_size"]), rows.shape[1])
        embedding[ids.long()] = rows
        return {**state, "token_embedding.weight": embedding}

    @cached_property
    def encoder(self) -> Any:
        return from_openai(self.state, self.name)

    @property
    def config(self) -> Any:
        """Our settings for the authors' ones."""
        cfg, trainer = self.facts.get("cfg", {}), self.facts["trainer"]
        if trainer in ("CLIP_LoRA", "MultiModalAdapter", "MMRL", "TipAdapter", *VECTORS):
            return self._newer(cfg, trainer)
        if trainer in ("KgCoOp", "ProGrad", "TCP"):
            return self._held_back(cfg, trainer)
        words = self.recorded.get("ctx_init_text") or ""
        words = words if self.recorded["prompts"][0].startswith(f"{words} ") else ""  # long contexts start at random
        used = self.recorded.get("n_ctx_used")
        match trainer:
            case "ZeroshotCLIP":
                return zeroshot.Config(templates=(self.recorded["template"],))
            case "CoOp":
                csc = cfg["CSC"] and not words
                return coop.Config(context=used, words=words, position=cfg["CLASS_TOKEN_POSITION"], per_class=csc)
            case "CoCoOp":
                return cocoop.Config(context=used, words=words)
            case "VPT":
                return vpt.Config(context=cfg["N_CTX_VISION"], depth=cfg["PROMPT_DEPTH_VISION"])
            case "LAMM" | "MaPLe+LAMM":
                beside = "maple" if trainer != "LAMM" else "words" if cfg["origin_clip"] else "coop"
                return lamm.Config(
                    beside=beside, words=words, context=used, depth=cfg.get("PROMPT_DEPTH", 1), shots=cfg["shots"],
                )  # fmt: skip
            case "CoPrompt":
                return coprompt.Config(
                    context=used, depth=cfg["PROMPT_DEPTH"], words=words, weight=cfg["W"], distance=cfg["DISTILL"],
                    descriptions={name: tuple(sentences) for name, sentences in self.facts["descriptions"].items()},
                )  # fmt: skip
            case "BMIP":
                return bmip.Config(context=cfg["N_CTX"], depth=cfg["PROMPT_DEPTH"], words=words)
            case "MaPLe":
                return maple.Config(context=used, depth=cfg["PROMPT_DEPTH"], words=words)
            case "IVLP" | "PromptSRC" if not cfg["PROMPT_DEPTH_VISION"]:
                return language.Config(context=used, depth=cfg["PROMPT_DEPTH_TEXT"], words=words)
            case "IVLP" | "PromptSRC":
                settings = {
                    "text_context": used,
                    "text_depth": cfg["PROMPT_DEPTH_TEXT"],
                    "image_context": cfg["N_CTX_VISION"],
                    "image_depth": cfg["PROMPT_DEPTH_VISION"],
                    "words": words,
                }
                if trainer == "IVLP":
                    return ivlp.Config(**settings)
                return promptsrc.Config(**settings, consistency=self.consistency)
        raise AssertionError(f"{self.name}: unknown trainer {trainer}")

    def _held_back(self, cfg: dict[str, Any], trainer: str) -> Any:
        """The same for methods whose context a teacher's sentence holds back."""
        words, used = self.recorded.get("ctx_init_text") or "", self.recorded["n_ctx_used"]
        own = cfg["CSC"] and not words
        teacher = self.around(self.recorded["teacher_prompts"])
        match trainer:
            case "KgCoOp":
                return kgcoop.Config(
                    context=used, words=words, per_class=own, weight=float(cfg["W"]), template=teacher,
                )  # fmt: skip
            case "ProGrad":
                return prograd.Config(
                    context=used, words=words, per_class=own, position=cfg["CLASS_TOKEN_POSITION"],
                    share=float(cfg["LAMBDA"]), temperature=float(cfg["T"]), template=teacher,
                )  # fmt: skip
            case _:
                return tcp.Config(context=used, words=words, sentence=self.template, template=teacher)

    def around(self, prompts: list[str]) -> str:
        """What stands around the first class name."""
        return prompts[0].replace(self.class_names[0].replace("_", " "), "{}")

    def _newer(self, cfg: dict[str, Any], trainer: str) -> Any:
        """The same for methods that learn no context."""
        templates = tuple(self.facts.get("templates") or [self.template])
        match trainer:
            case "CLIP_LoRA":
                towers = {"vision": "image"}.get(cfg["encoder"], cfg["encoder"])
                return clip_lora.Config(
                    rank=cfg["r"], alpha=float(cfg["alpha"]), places=tuple(KEPT[p] for p in cfg["params"]),
                    towers=towers, position=cfg["position"], dropout=0.0, template=templates[0],
                )  # fmt: skip
            case "MultiModalAdapter":
                return mma.Config(
                    start=cfg["ADAPTER_START"], end=cfg["ADAPTER_END"], width=cfg["ADAPTER_DIM"],
                    scale=cfg["ADAPTER_SCALE"], template=self.template,
                )  # fmt: skip
            case "MMRL":
                return mmrl.Config(
                    tokens=cfg["N_REP_TOKENS"], layers=tuple(cfg["REP_LAYERS"]), space=cfg["REP_DIM"],
                    alpha=cfg["ALPHA"], weight=cfg["REG_WEIGHT"], template=self.template,
                )  # fmt: skip
            case "CLIP_Adapter":
                return clip_adapter.Config(template=self.template)
            case "TaskRes":
                return taskres.Config(alpha=cfg["RESIDUAL_SCALE"], templates=self.underscored())
            case "CLIP_Adapter_gpt":
                sentences_of = {name: tuple(sentences) for name, sentences in self.facts["sentences"].items()}
                return vdt_adapter.Config(
                    descriptions=sentences_of, kind=cfg["WORD_ADAPTER_TYPE"], ratio=cfg["RATIO"],
                    attention_dropout=0.0, dropout=0.0,
                )  # fmt: skip
            case _:
                return tip_adapter.Config(
                    alpha=float(cfg["init_alpha"]), beta=float(cfg["init_beta"]), templates=templates,
                    search=tuple(map(float, cfg["search_scale"])), search_steps=tuple(cfg["search_step"]),
                )  # fmt: skip

    @property
    def template(self) -> str:
        """What stands around class names in the prompts."""
        return self.around(self.recorded["prompts"])

    def underscored(self) -> tuple[str, ...]:
        """What stands around the first class name, which keeps its underscores."""
        first = self.class_names[0]
        return tuple(prompt.replace(first, "{}") for prompt in self.recorded["prompts"] if first in prompt)

    def optimizer(self, method: Any) -> torch.optim.Optimizer:
        """The authors' optimiser, of what learns."""
        settings = dict(self.facts["optim"])
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[
            settings.pop("name", "sgd")
        ]
        return kind(list(method.learned().values()), **settings)

    @property
    def consistency(self) -> Consistency:
        cfg = self.facts["cfg"]
        return replace(
            Consistency(),
            text=float(cfg["TEXT_LOSS_WEIGHT"]),
            image=float(cfg["IMAGE_LOSS_WEIGHT"]),
            templates=tuple(self.recorded["teacher_templates"]),
            mean=float(cfg["GPA_MEAN"]),
            std=float(cfg["GPA_STD"]),
        )

    def build(self) -> Any:
        """The method with its parameters as the authors' run began."""
        method = build(self.config, self.encoder, self.class_names)
        self.put("init", method)
        return method

    def named(self, method: Any) -> dict[str, torch.nn.Parameter]:
        """Our parameters under the authors' names."""
        return {theirs: method.learned()[own] for own, theirs in original_names(method).items()}

    def see(self, method: Any, items: Any = slice(None)) -> Any:
        """What the authors' model was shown of some pictures: with a second view where there is one."""
        pixels, again = (self.tensors[key][items] if key in self.tensors else None for key in ("images", "images2"))
        return method.see(PixelPictures(self.encoder, pixels, again))

    def pick(self, step: int) -> float:
        """Which sentence of each class a step compares with."""
        picks, each = self.facts["picks"], len(next(iter(self.facts["descriptions"].values())))
        return (picks[step % len(picks)] + 0.5) / each

    def put(self, prefix: str, method: Any) -> None:
        with torch.no_grad():
            for name, parameter in self.named(method).items():
                parameter.copy_(self.tensors[f"{prefix}.{name}"])

    def expected(self, prefix: str) -> dict[str, Tensor]:
        found = {k.removeprefix(f"{prefix}."): v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}
        return {key: tensor for key, tensor in found.items() if not IDLE.match(key)}

    def close(self, ours: Tensor, key: str, row: int | None = None) -> None:
        expected = self.tensors[key].to(ours.dtype)
        expected = expected if row is None else expected[row]
        torch.testing.assert_close(ours.detach(), expected, **self.tolerance, msg=lambda m: f"{self.name}, {key}: {m}")


def widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float8_e4m3fn, torch.float16) else tensor
