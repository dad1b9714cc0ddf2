"""The plain way of CLIP-LoRA, MMA, MMRL, TCP and CoPrompt: what their authors' programs compute in a step, in float32.

open_clip's own blocks, every class at the full 77 tokens, every token through every block, each step; a frozen teacher
of pictures, where there is one, sees them anew in each step, since their crops are new; one of sentences is computed
once. Learned tensors are those of our method; the code is other.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from polyprompt.adapt.engine import Adapted
from polyprompt.methods.mma import times_gradient

SETTINGS = {
    "clip_lora": {"dropout": 0.0},
    "coprompt": {"descriptions": {"{}": ("a photo of a {} seen from afar.",)}},
    "mma": {},
    "mmrl": {},
    "tcp": {},
}
"""What the two sides must agree in: no dropout, one sentence a class."""
BATCH = {"clip_lora": 32, "coprompt": 4, "mma": 16, "mmrl": 4, "tcp": 32}
"""The authors' batches."""

Before = Callable[[int, Tensor], Tensor]
"""What is done to token states as they enter a block; -1: to word vectors, or behind `ln_pre`."""
Run = Callable[[int, torch.nn.Module, Tensor, Tensor | None], Tensor]
"""How a block is run, with its number and a mask."""


def untouched(number: int, x: Tensor) -> Tensor:
    return x


def plainly(number: int, block: torch.nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    return block(x, attn_mask=mask)


class Newer:
    """One of the methods in `SETTINGS`, the plain way."""

    def __init__(self, model, method: Adapted, name: str) -> None:
        self.model, self.method, self.adapter, self.name = model, method, method.adapter, name
        rows = self.adapter.rows(method.encoder.text, method.class_names)
        if name == "mmrl":  # whose slots have no places
            rows = [[token for token in row if token >= 0] for row in rows]
        self.ids = torch.zeros(len(rows), 77, dtype=torch.long)
        for i, row in enumerate(rows):
            full = [49406, *(max(token, 0) for token in row), 49407]
            self.ids[i, : len(full)] = torch.tensor(full)
        view = method.see(torch.zeros(1, 3, 224, 224))
        self.teacher = view.classes([getattr(method.config, "template", "a photo of a {}.")])[:, 0]
        if name == "coprompt":
            self.teacher = method.terms[1].sentences(view, 0.0)

    # Towers

    def text(self, before: Before = untouched, run: Run = plainly, more: int = 0) -> Tensor:
        """Every class; the end token stands `more` places further on where tokens were put in."""
        model = self.model
        x = before(-1, model.token_embedding(self.ids)) + model.positional_embedding
        for number, block in enumerate(model.transformer.resblocks):
            x = before(number, x)
            mask = torch.full((x.shape[1],) * 2, -torch.inf).triu(1)
            x = run(number, block, x, mask)
        x = model.ln_final(x)
        return x[torch.arange(len(x)), self.ids.argmax(dim=-1) + more] @ model.text_projection

    def image(self, pixels: Tensor, before: Before = untouched, run: Run = plainly) -> Tensor:
        """All token states after the last norm."""
        visual = self.model.visual
        x = visual.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
        x = before(-1, x)
        x = visual.ln_pre(x)
        for number, block in enumerate(visual.transformer.resblocks):
            x = run(number, block, before(number, x), None)
        return visual.ln_post(x)

    def vectors(self, pixels: Tensor, before: Before = untouched, run: Run = plainly) -> Tensor:
        """One a picture."""
        return self.image(pixels, before, run)[:, 0] @ self.model.visual.proj

    @torch.no_grad()
    def frozen(self, pixels: Tensor) -> Tensor:
        """What the frozen tower makes of pictures."""
        return self.vectors(pixels)

    # Class vectors, and the loss

    def classes(self) -> Tensor:
        """The text side alone."""
        adapter = self.adapter
        match self.name:
            case "clip_lora":
                return self.text(run=partial(low_rank, adapter.text))
            case "mma":
                return self.text(run=self._beside(adapter.text_adapter))
            case "mmrl":
                return self.text(self._tokens(adapter.compound_rep_tokens_r2tproj), more=len(self._space))
            case "tcp":
                prompts = adapter.class_prompts(self.method.see(torch.zeros(1, 3, 224, 224)))
                return self.text(lambda number, x: put({-1: adapter.ctx, 8: prompts}.get(number), x))
            case _:
                layers = dict(zip([-1, *range(1, 12)], adapter.text, strict=False))
                x = self.text(lambda number, x: put(layers.get(number), x))
                return 0.2 * adapter.adapter_text(x) + 0.8 * x

    def loss(self, pixels: Tensor, again: Tensor, labels: Tensor) -> Tensor:
        """The whole step's; `again` is CoPrompt's second view."""
        classes, adapter = self.classes(), self.adapter
        match self.name:
            case "clip_lora":
                return self._entropy(self.vectors(pixels, run=partial(low_rank, adapter.image)), classes, labels, 100.0)
            case "mma":
                return self._entropy(self.vectors(pixels, run=self._beside(adapter.visual_adapter)), classes, labels)
            case "mmrl":
                return self._mmrl(pixels, classes, labels)
            case "tcp":
                near = F.cosine_similarity(classes, self.teacher, eps=1e-7).mean()
                return self._entropy(self.frozen(pixels), classes, labels) + 8 * (1 - near)
            case _:
                return self._coprompt(pixels, again, classes, labels)

    def _entropy(self, images: Tensor, classes: Tensor, labels: Tensor, scale: float | None = None) -> Tensor:
        factor = self.model.logit_scale.exp() if scale is None else scale
        return F.cross_entropy(factor * F.normalize(images, dim=-1) @ F.normalize(classes, dim=-1).T, labels)

    def _beside(self, ends) -> Run:
        """MMA's block: beside it as a whole a bottleneck, whose gradient is rescaled."""
        s, shared = self.method.config.scale, self.adapter.shared_adapter

        def run(number: int, block, x: Tensor, mask: Tensor | None) -> Tensor:
            out, level = block(x, attn_mask=mask), str(number + 1)
            if level not in ends:
                return out
            inner = ends[level].up(shared[level](ends[level].down(times_gradient(block.ln_1(x), s))))
            return out + times_gradient(s * inner, 1 / s)

        return run

    @property
    def _space(self) -> Tensor:
        return self.adapter.compound_rep_tokens

    def _tokens(self, maps) -> Before:
        """MMRL's tokens: put in behind the first token, later in place of themselves."""
        layers = self.method.config.layers

        def before(number: int, x: Tensor) -> Tensor:
            if number + 1 not in layers:
                return x
            rows = maps[layers.index(number + 1)](self._space)
            rest = x[:, 1 if number + 1 == layers[0] else 1 + len(rows) :]
            return torch.cat([x[:, :1], rows.expand(len(x), -1, -1), rest], dim=1)

        return before

    def _mmrl(self, pixels: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
        config, count = self.method.config, len(self._space)
        states = self.image(pixels, self._tokens(self.adapter.compound_rep_tokens_r2vproj))
        token = states[:, 0] @ self.model.visual.proj
        representation = states[:, 1 : 1 + count].mean(dim=1) @ self.adapter.proj_rep
        entropies = [self._entropy(one, classes, labels, 100.0) for one in (token, representation)]
        apart = [1 - F.cosine_similarity(token, self.frozen(pixels)), 1 - F.cosine_similarity(classes, self.teacher)]
        held = config.weight * (apart[0].mean() + apart[1].mean())
        return config.alpha * entropies[0] + (1 - config.alpha) * entropies[1] + held

    def _coprompt(self, pixels: Tensor, again: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
        couplings, prompts = self.adapter.couplings, self.adapter.text
        layers = {
            number or -1: couple(row) for number, (couple, row) in enumerate(zip(couplings, prompts, strict=True))
        }

        def before(number: int, x: Tensor) -> Tensor:
            if (rows := layers.get(number)) is None:
                return x
            return torch.cat([x if number < 0 else x[:, : -len(rows)], rows.expand(len(x), -1, -1)], dim=1)

        x = self.vectors(pixels, before)
        images = 0.1 * self.adapter.adapter_image(x) + 0.9 * x
        text = 1 - F.cosine_similarity(classes, self.teacher, eps=1e-7).mean()
        image = 1 - F.cosine_similarity(images, self.frozen(again), eps=1e-7).mean()
        return self._entropy(images, classes, labels) + 8 * (text + image)


def put(rows: Tensor | None, x: Tensor) -> Tensor:
    """Learned rows in place of the tokens behind the first: the same for all classes, or each its own."""
    if rows is None:
        return x
    return torch.cat([x[:, :1], rows.expand(len(x), -1, -1), x[:, 1 + rows.shape[-2] :]], dim=1)


def low_rank(updates, number: int, block, x: Tensor, mask: Tensor | None) -> Tensor:
    """A block whose queries, keys and values have low-rank updates."""
    h, attn = block.ln_1(x), block.attn
    parts = zip(attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3), ("query", "key", "value"), strict=True)
    qkv = [F.linear(h, weight, bias) + updates[str(number)][place](h) for weight, bias, place in parts]
    q, k, v = (one.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for one in qkv)
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    x = x + attn.out_proj(found)
    return x + block.mlp(block.ln_2(x))
