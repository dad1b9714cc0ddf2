"""Steps of MaPLe, CoOp, CoCoOp and PromptSRC, and an evaluation, against the plain way; ViT-B/16, random weights.

    python benchmarks/adapt.py maple --classes 200
    python benchmarks/adapt.py curve
    python benchmarks/adapt.py memory --classes 400

The plain way is below: open_clip's own blocks, every class at the full 77 tokens, every token through every block, in
each step, one image at a time for CoCoOp: what the authors' programs do, in float32. Both sides share weights, start
from the same prompts, and have to give the same loss (relative 1e-4) before they are timed, in turn.
"""

import argparse
import logging

import torch
import torch.nn.functional as F
from measure import in_turn, peak_memory, seconds, write
from open_clip import create_model
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

from polyprompt import methods
from polyprompt.towers.openai import from_openai

IMAGES = 4
NAMES = list(dict.fromkeys(IMAGENET_CLASSNAMES))
SETTINGS = {"maple": {}, "coop": {}, "cocoop": {}, "promptsrc": {}}


class Plain:
    """The plain way, for one of our methods: the same parameters, other code."""

    def __init__(self, model, method) -> None:
        self.model, self.method = model, method
        self.rows = (
            method.layout.rows(method.encoder.text, method.class_names) if hasattr(method.layout, "rows") else None
        )
        self.teacher = method.teacher.classes if getattr(method, "teacher", None) is not None else None

    def classes(self, layers, rows) -> torch.Tensor:
        """Every class at 77 tokens; learned vectors put in behind the start token and replaced in deeper blocks."""
        model, count = self.model, len(layers[0])
        start, end = 49406, 49407
        ids = torch.zeros(len(rows), 77, dtype=torch.long)
        for i, row in enumerate(rows):
            full = [start, *(max(token, 0) for token in row), end]
            ids[i, : len(full)] = torch.tensor(full)
        x = model.token_embedding(ids)
        x = torch.cat([x[:, :1], layers[0].expand(len(ids), -1, -1), x[:, 1 + count :]], dim=1)
        x = x + model.positional_embedding
        for number, block in enumerate(model.transformer.resblocks):
            if 0 < number < len(layers):
                x = torch.cat([x[:, :1], layers[number].expand(len(ids), -1, -1), x[:, 1 + count :]], dim=1)
            x = block(x, attn_mask=model.attn_mask)
        x = model.ln_final(x)
        return x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ model.text_projection

    def images(self, pixels, layers) -> torch.Tensor:
        """Learned vectors put in behind the patches and replaced in deeper blocks."""
        visual = self.model.visual
        x = visual.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
        if layers:
            x = torch.cat([x, layers[0].expand(len(x), -1, -1)], dim=1)
        x = visual.ln_pre(x)
        for number, block in enumerate(visual.transformer.resblocks):
            if layers and 0 < number < len(layers):
                x = torch.cat([x[:, : -len(layers[0])], layers[number].expand(len(x), -1, -1)], dim=1)
            x = block(x)
        return visual.ln_post(x[:, 0]) @ visual.proj

    def loss(self, pixels, features, labels) -> torch.Tensor:
        """The authors' loss; `features` are the frozen image vectors, where they train from those."""
        method, scale = self.method, self.model.logit_scale.exp()
        if type(method).__name__ == "CoCoOp":
            return self.cocoop(features, labels, scale)
        text, image = method.layout.prompts()
        images = features if image is None else self.images(pixels, image.layers)
        classes = F.normalize(self.classes(text.layers, self.rows), dim=-1)
        images = F.normalize(images, dim=-1)
        logits = scale * images @ classes.T
        loss = F.cross_entropy(logits, labels)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            frozen = F.normalize(self.images(pixels, ()), dim=-1)
            expected = scale * frozen @ self.teacher.T
        loss = loss + 25 * F.l1_loss(classes, self.teacher) + 10 * F.l1_loss(images, frozen)
        divergence = F.kl_div(F.log_softmax(logits, 1), F.log_softmax(expected, 1), reduction="sum", log_target=True)
        return loss + divergence / logits.numel()

    def cocoop(self, features, labels, scale) -> torch.Tensor:
        """One image after the other."""
        from polyprompt.methods.wording import context_rows
        from polyprompt.nn.prompts import slots

        method = self.method
        rows = context_rows(method.encoder.text, slots(0, method.config.context), method.class_names)
        logits = []
        for image in F.normalize(features, dim=-1):
            classes = F.normalize(self.classes((method.layout(image[None])[0],), rows), dim=-1)
            logits.append(scale * image @ classes.T)
        return F.cross_entropy(torch.stack(logits), labels)


def prepare(name: str, classes: int, batch: int, *, cached: bool):
    """Both sides' training steps; each returns its loss."""
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    model = create_model("ViT-B-16-quickgelu").eval().requires_grad_(False)
    encoder = from_openai(model.state_dict(), "ViT-B-16")
    method = methods.config_of(name)(**SETTINGS[name]).build(encoder, NAMES[:classes])
    plain = Plain(model, method)
    pixels, labels = torch.randn(batch, 3, 224, 224), torch.arange(batch) % classes
    features = model.encode_image(pixels) if cached else None
    kept = method.frozen(pixels) if cached else None

    def step(loss) -> float:
        for parameter in method.learned().values():
            parameter.grad = None
        loss.backward()
        return loss.item()

    def ours() -> float:
        return step(method.loss(kept or method.frozen(pixels), labels)["loss"])

    def theirs() -> float:
        return step(plain.loss(pixels, features, labels))

    return ours, theirs


def compare(name: str, classes: int, rounds: int) -> dict:
    """Times both sides of a training step in turn, once they agree."""
    cached = name in ("coop", "cocoop")
    batch = {"coop": 32}.get(name, IMAGES)
    ours, theirs = prepare(name, classes, batch, cached=cached)
    losses = ours(), theirs()
    assert abs(losses[0] - losses[1]) <= 1e-4 * abs(losses[1]), losses
    return {"method": name, "classes": classes, "batch": batch, "losses": losses, **in_turn(ours, theirs, rounds)}


def matmul_peak() -> float:
    """Multiply-adds count as two: the rate of one large product in float32."""
    a = torch.randn(2048, 2048)
    a @ a
    return 10 * 2 * 2048**3 / seconds(lambda: [a @ a for _ in range(10)])


def our_step(name: str, classes: int):
    """For `peak_memory`."""
    ours, _ = prepare(name, classes, IMAGES, cached=False)
    return ours


def plain_step(name: str, classes: int):
    """For `peak_memory`."""
    _, theirs = prepare(name, classes, IMAGES, cached=False)
    return theirs


def evaluation(classes: int, images: int, rounds: int) -> dict:
    """CoOp on image vectors that are at hand, in batches of 32: classes encoded once, or again for each batch."""
    torch.manual_seed(0)
    model = create_model("ViT-B-16-quickgelu").eval().requires_grad_(False)
    encoder = from_openai(model.state_dict(), "ViT-B-16")
    method = methods.config_of("coop")().build(encoder, NAMES[:classes])
    plain = Plain(model, method)
    batches = torch.randn(images, 512).split(32)

    @torch.no_grad()
    def once() -> torch.Tensor:
        for parameter in method.learned().values():  # as if a training step had come before: nothing is kept from it
            parameter.add_(0)
        return torch.cat([method.logits({"states": batch}) for batch in batches])

    @torch.no_grad()
    def again() -> torch.Tensor:
        layers, logits = method.layout.prompts().text.layers, []
        for batch in batches:
            found = F.normalize(plain.classes(layers, plain.rows), dim=-1)
            logits.append(model.logit_scale.exp() * F.normalize(batch, dim=-1) @ found.T)
        return torch.cat(logits)

    torch.testing.assert_close(once(), again(), atol=1e-3, rtol=1e-4)
    return {"method": "coop", "classes": classes, "images": images, **in_turn(once, again, rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["maple", "coop", "cocoop", "promptsrc", "curve", "memory", "evaluate"])
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    name = f"adapt-{arguments.what}-{arguments.classes}"
    match arguments.what:
        case "memory":
            ours = peak_memory(our_step, "maple", arguments.classes)
            thousand = peak_memory(our_step, "maple", 1000)
            theirs = peak_memory(plain_step, "maple", arguments.classes)
            write(name, {"ours": ours, "ours at 1000": thousand, "theirs": theirs, "share": ours / theirs})
        case "evaluate":
            write("adapt-evaluate", evaluation(100, 1000, arguments.rounds))
        case "curve":
            points = []
            for classes in (10, 50, 100, 200, 500, 1000):
                ours, _ = prepare("maple", classes, IMAGES, cached=False)
                ours()
                points.append({"classes": classes, "seconds": min(seconds(ours) for _ in range(arguments.rounds))})
            write("adapt-curve", {"method": "maple", "batch": IMAGES, "points": points})
        case method:
            write(name, {"matmul_peak": matmul_peak(), **compare(method, arguments.classes, arguments.rounds)})


if __name__ == "__main__":
    main()
