"""Training steps of MaPLe and other methods, and an evaluation, against the plain way; ViT-B/16 sizes.

    python benchmarks/adapt.py maple       at 10 to 200 classes; ours alone up to 1,000
    python benchmarks/adapt.py bf16        ours in bf16, the plain way in fp32
    python benchmarks/adapt.py coop cocoop promptsrc evaluate
    python benchmarks/adapt.py clip_lora mma mmrl tcp coprompt     the authors' batch, 100 classes; text at 200
    python benchmarks/adapt.py tip_adapter newer-memory
    python benchmarks/adapt.py memory      needs 14 GiB for the plain way at 400 classes

The plain way is below: open_clip's own blocks, every class at the full 77 tokens, every token through every block, in
each step, one image at a time for CoCoOp: what the authors' programs do, in float32 (newer.py for newer methods).
Both sides share weights (random
ones; no time depends on them), start from the same prompts, and have to give the same loss and gradients before they
are timed, in turn. Neither hands memory back between steps (nn/memory.py, as the program itself).
"""

import argparse
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import available_memory, in_turn, peak_memory, seconds, write
from newer import BATCH, SETTINGS, Newer
from open_clip import create_model
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from torch.utils.flop_counter import FlopCounterMode

from polyprompt import methods
from polyprompt.adapt.adapter import class_logits
from polyprompt.adapt.engine import build
from polyprompt.adapt.view import PixelPictures, class_means
from polyprompt.methods import cocoop, promptsrc, tip_adapter
from polyprompt.nn.memory import keep_memory
from polyprompt.nn.precision import Precision, matmul_peak
from polyprompt.zoo.openai import from_openai

IMAGES = 4
NAMES = list(dict.fromkeys(IMAGENET_CLASSNAMES))
BOTH, OURS_ALONE = (10, 50, 100, 200), (500, 1000)
NEEDED = 14 << 30
"""Bytes that the plain way takes at 400 classes, and some more."""


class Plain:
    """The plain way, for one of our methods: the same parameters, other code."""

    def __init__(self, model, method) -> None:
        self.model, self.method = model, method
        self.rows = method.adapter.rows(method.encoder.text, method.class_names)
        self.teacher = None
        if isinstance(method.adapter, promptsrc.PromptSRC):
            sentences = method.frozen_text.classes(method.config.consistency.templates)
            self.teacher = class_means(sentences, unit_first=False)

    def layers(self, change) -> list[torch.Tensor]:
        """The rows of a change, from the input up."""
        return [rows.rows for _, rows in sorted(change.entering.items())]

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
        if isinstance(method.adapter, cocoop.CoCoOp):
            return self.cocoop(features, labels, scale)
        view = method.see(pixels)
        image = self.layers(method.adapter.image_change(view))
        images = self.images(pixels, image) if image else features
        classes = F.normalize(self.classes(self.layers(method.adapter.text_change(view)), self.rows), dim=-1)
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
        adapter, logits = self.method.adapter, []
        for image in F.normalize(features, dim=-1):
            classes = F.normalize(self.classes([adapter.ctx + adapter.meta_net(image)], self.rows), dim=-1)
            logits.append(scale * image @ classes.T)
        return F.cross_entropy(torch.stack(logits), labels)


def both_sides(name: str, classes: int):
    """A method with its published settings, its frozen encoder, and the plain way beside it."""
    logging.disable(logging.WARNING)  # open_clip warns of random weights
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    model = create_model("ViT-B-16-quickgelu").eval().requires_grad_(False)
    method = build(methods.config_of(name)(), from_openai(model.state_dict(), "ViT-B-16"), NAMES[:classes])
    return method, Plain(model, method)


def steps(
    name: str, classes: int, ours_in: Precision = "fp32"
) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Both sides' training step: loss and gradients.

    Ours has what `adapt` keeps of each picture: its vector for CoOp and CoCoOp, which leave images alone, the teacher's
    for PromptSRC. MaPLe keeps nothing.
    """
    method, plain = both_sides(name, classes)
    batch = 32 if name == "coop" else IMAGES
    pixels, labels = torch.randn(batch, 3, 224, 224), torch.arange(batch) % classes
    kept = method.see(pixels)
    if name == "maple":
        kept = None
    else:
        kept.images, kept.states(method.image_start)  # what `adapt` has on disk

    def step(loss: torch.Tensor) -> torch.Tensor:
        for parameter in method.learned().values():
            parameter.grad = None
        loss.backward()
        gradients = [parameter.grad.flatten() for parameter in method.learned().values()]
        return torch.cat([loss.detach()[None], *gradients])

    def ours() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=ours_in == "bf16"):
            loss = method.losses(kept or method.see(pixels), labels)["loss"]
        return step(loss)

    def theirs() -> torch.Tensor:
        return step(plain.loss(pixels, kept and kept.images, labels))

    return ours, theirs


def agree(ours: torch.Tensor, theirs: torch.Tensor, ours_in: Precision) -> None:
    """Equal losses (relative 1e-4) and gradients (1e-3 of the length of all of them); in bf16 1e-2 and 5e-2."""
    loss, gradient = (1e-4, 1e-3) if ours_in == "fp32" else (1e-2, 5e-2)
    torch.testing.assert_close(ours[0], theirs[0], rtol=loss, atol=0)
    assert (ours[1:] - theirs[1:]).norm() < gradient * theirs[1:].norm(), "gradients differ"


def compare(name: str, classes: int, rounds: int, ours_in: Precision = "fp32") -> dict:
    """Both sides of a training step in turn, once they agree, and our share of the matmul peak."""
    ours, theirs = steps(name, classes, ours_in)
    with FlopCounterMode(display=False) as counter:
        found = ours()
    agree(found, theirs(), ours_in)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[ours_in]
    peak = matmul_peak(dtype)
    time = in_turn(ours, theirs, rounds)
    peak = max(peak, matmul_peak(dtype))
    work = counter.get_total_flops() * torch.get_num_threads() / 1e9
    speed = work / min(time["processor_seconds"]["ours"])  # of time it really had; the peak is the best of many tries
    print(name, classes, ours_in, {key: time[key] for key in ("ratio", "processor_ratio", "load_before")}, flush=True)
    return {
        "method": name,
        "classes": classes,
        "ours_in": ours_in,
        "time": time,
        "gflops_while_running": speed,
        "matmul_peak_gflops": peak,
        "share_of_matmul_peak": speed / peak,
        "limit_by_matrix_products": time["processor_ratio"] * peak / speed,
    }


def curve(rounds: int) -> list[dict]:
    """MaPLe's step by the number of classes."""
    found = [compare("maple", classes, rounds) for classes in BOTH]
    for classes in OURS_ALONE:
        ours, _ = steps("maple", classes)
        ours()
        times = [seconds(ours) for _ in range(rounds)]
        found.append({"method": "maple", "classes": classes, "time": {"seconds": {"ours": times}}})
        print("maple", classes, times, flush=True)
    return found


def our_step(name: str, classes: int) -> Callable[[], object]:
    """For `peak_memory`; a small step first, so that libraries' own buffers exist."""
    steps(name, 10)[0]()
    return steps(name, classes)[0]


def plain_step(name: str, classes: int) -> Callable[[], object]:
    """The same for the plain way."""
    steps(name, 10)[1]()
    return steps(name, classes)[1]


def memory(rounds: int) -> list[dict]:
    """Peaks of one MaPLe step: what it adds to the process, and all that a process with 1,000 classes holds."""
    free = available_memory()
    if free < NEEDED:
        raise SystemExit(
            f"memory: {free / 2**30:.1f} GiB are free, the plain way needs {NEEDED / 2**30:.0f}; free some"
        )
    ours, theirs = (peak_memory(side, "maple", 400) for side in (our_step, plain_step))
    return [
        {"classes": 400, "ours_bytes": ours, "theirs_bytes": theirs, "ours_over_theirs": ours / theirs},
        {"classes": 1000, "ours_whole_process_bytes": peak_memory(our_step, "maple", 1000, whole=True)},
    ]


class Vectors:
    """Pictures whose frozen vectors are at hand."""

    def __init__(self, vectors: torch.Tensor) -> None:
        self.vectors = vectors

    def states(self, start: int | None) -> torch.Tensor:
        assert start is None
        return self.vectors


@torch.no_grad()
def evaluation(rounds: int) -> list[dict]:
    """CoOp on image vectors that are at hand, in batches of 32: classes encoded once, or again for each batch."""
    method, plain = both_sides("coop", 100)
    batches = torch.randn(1000, 512).split(32)

    def once(batches=batches) -> torch.Tensor:
        head = method.head()
        return torch.cat([head.logits(method.see(Vectors(batch))) for batch in batches])

    def again(batches=batches) -> torch.Tensor:
        layers, logits = [method.adapter.context], []
        for batch in batches:
            found = F.normalize(plain.classes(layers, plain.rows), dim=-1)
            logits.append(plain.model.logit_scale.exp() * F.normalize(batch, dim=-1) @ found.T)
        return torch.cat(logits)

    torch.testing.assert_close(once(batches[:2]), again(batches[:2]), atol=1e-3, rtol=1e-4)
    return [{"method": "coop", "classes": 100, "images": 1000, "time": in_turn(once, again, rounds)}]


# Newer methods


def newer(name: str, classes: int):
    """A method of `newer.py`, moved away from where updates are nothing, and the plain way beside it."""
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    model = create_model("ViT-B-16-quickgelu").eval().requires_grad_(False)
    config = methods.config_of(name)(**SETTINGS[name])
    method = build(config, from_openai(model.state_dict(), "ViT-B-16"), NAMES[:classes])
    for parameter in method.learned().values():
        parameter.data += 0.002 * torch.randn(parameter.shape)
    return method.train(), Newer(model, method, name)


def gradient(method, value: torch.Tensor) -> torch.Tensor:
    """A value and its gradients, in one row."""
    learned = list(method.learned().values())
    found = torch.autograd.grad(value, learned, materialize_grads=True)
    return torch.cat([value.detach()[None], *(one.flatten() for one in found)])


def newer_steps(name: str, classes: int) -> tuple[dict[str, Callable[[], torch.Tensor]], Callable[[], torch.Tensor]]:
    """Our step with new crops and with kept states, our image tower alone with each; and theirs."""
    method, plain = newer(name, classes)
    pixels, labels = torch.randn(BATCH[name], 3, 224, 224), torch.arange(BATCH[name]) % classes
    kept = method.see(pixels)
    kept.images, kept.states(method.image_start)

    def crops() -> torch.Tensor:
        view = method.see(PixelPictures(method.encoder, pixels, pixels))
        return gradient(method, method.losses(view, labels)["loss"])

    def image(view) -> torch.Tensor:
        found = method.image_features(view).square().sum()
        return gradient(method, found) if found.requires_grad else found

    ours = {
        "new crops": crops,
        "kept states": lambda: gradient(method, method.losses(kept, labels)["loss"]),
        "image, new crops": lambda: image(method.see(pixels)),
    }
    if method.image_start is not None:  # else kept vectors leave nothing to do
        ours["image, kept states"] = lambda: image(kept)
    return ours, lambda: gradient(method, plain.loss(pixels, pixels, labels))


def newer_row(name: str, classes: int, text_classes: int, rounds: int) -> list[dict]:
    """A whole step, new crops first, then kept states; what our image tower alone would leave of it; the text alone."""
    ours, theirs = newer_steps(name, classes)
    expected, rows = theirs(), []
    for pictures in ("new crops", "kept states"):
        agree(ours[pictures](), expected, "fp32")
        time = in_turn(ours[pictures], theirs, rounds)
        row = {"method": name, "classes": classes, "images": BATCH[name], "pictures": pictures, "time": time}
        if image := ours.get(f"image, {pictures}"):
            image()
            row["limit_by_image_tower"] = min(time["seconds"]["theirs"]) / min(seconds(image) for _ in range(rounds))
        rows.append(row)
        print(name, pictures, {key: time[key] for key in ("ratio", "processor_ratio", "load_before")}, flush=True)
    return [*rows, text_row(name, text_classes, rounds)]


def text_row(name: str, classes: int, rounds: int) -> dict:
    """Class vectors and their gradients."""
    method, plain = newer(name, classes)
    view, weights = method.see(torch.zeros(1, 3, 224, 224)), torch.randn(classes, 512)
    sides = [lambda: gradient(method, (method.class_features(view) * weights).sum())]
    sides.append(lambda: gradient(method, (plain.classes() * weights).sum()))
    ours, theirs = (side() for side in sides)
    assert (ours - theirs).norm() < 1e-3 * theirs.norm(), "class vectors or gradients differ"
    time = in_turn(*sides, rounds)
    print(name, "text", {key: time[key] for key in ("ratio", "processor_ratio", "load_before")}, flush=True)
    return {"method": name, "classes": classes, "side": "text", "time": time}


def newer_step(name: str, classes: int) -> Callable[[], object]:
    """For `peak_memory`; a small step first."""
    newer_steps(name, 10)[0]["new crops"]()
    return newer_steps(name, classes)[0]["new crops"]


def newer_memory(classes: int) -> list[dict]:
    """All that a process holds at the peak of a step with new crops, at the authors' batch."""
    return [
        {"method": name, "classes": classes, "images": BATCH[name],
         "ours_whole_process_bytes": peak_memory(newer_step, name, classes, whole=True)}
        for name in SETTINGS
    ]  # fmt: skip


@torch.no_grad()
def tip(rounds: int, classes: int = 100, shots: int = 16) -> list[dict]:
    """Cache, search of 200 x 20 weights on 4 vectors a class, scores of 25 a class; the plain way scores each pair."""
    method, _ = both_sides("zeroshot", classes)
    config = tip_adapter.Config(learn=False)
    method = build(config, method.encoder, NAMES[:classes]).eval()
    labels, val_labels = (torch.arange(classes).repeat(count) for count in (shots, 4))
    centres = torch.randn(classes, 512)
    train, val, test = (centres.repeat(count, 1) + 2 * torch.randn(classes * count, 512) for count in (shots, 4, 25))
    names = method.class_features(method.see(Vectors(val))) + 0.3 * centres

    def ours() -> torch.Tensor:
        adapter = method.adapter
        adapter.fit(train[None], labels)
        adapter.tune(val, val_labels, names, float(method.scale))
        return adapter.scores(test, names, method.scale)["logits"]

    def theirs() -> torch.Tensor:
        keys, values = F.normalize(train, dim=-1), F.one_hot(labels, classes).float()
        affinity, plain, best = (
            F.normalize(val, dim=-1) @ keys.T,
            class_logits(val, names, method.scale),
            (-1.0, 0.0, 0.0),
        )
        for beta in (
            0.1 + i * (config.search[0] - 0.1) / config.search_steps[0] for i in range(config.search_steps[0])
        ):
            for alpha in (
                0.1 + i * (config.search[1] - 0.1) / config.search_steps[1] for i in range(config.search_steps[1])
            ):
                found = plain + alpha * (torch.exp(-beta * (1 - affinity)) @ values)
                score = float((found.argmax(1) == val_labels).float().mean())
                best = max(best, (score, beta, alpha), key=lambda one: one[0])
        _, beta, alpha = best
        cached = torch.exp(-beta * (1 - F.normalize(test, dim=-1) @ keys.T)) @ values
        return class_logits(test, names, method.scale) + alpha * cached

    torch.testing.assert_close(ours(), theirs(), atol=1e-3, rtol=1e-4)
    return [
        {
            "method": "tip_adapter",
            "classes": classes,
            "shots": shots,
            "side": "all",
            "time": in_turn(ours, theirs, rounds),
        }
    ]


GOALS = {
    "clip_lora": "2 times, kept states 2",
    "mma": "2 times, kept states 3",
    "mmrl": "4 times, kept states 7",
    "tcp": "2 times, kept states 20",
    "coprompt": "3 times",
}
"""Of a step with new crops, and with what `adapt` keeps."""

CLAIMS: dict[str, tuple[str, Callable[[int], list[dict]]]] = {  # memory first, before this process keeps any
    "memory": ("peak of MaPLe's step: <= 1/5 of the plain way's at 400 classes, 1,000 classes within 6 GB", memory),
    "maple": ("MaPLe's whole training step, 4 images: >= 8.5 times at 200 classes, >= 3.8 times at 50", curve),
    "bf16": (
        "MaPLe's step in bf16 against the plain way in fp32, 4 images, 200 classes: >= 15 times",
        lambda rounds: [compare("maple", 200, rounds, "bf16")],
    ),
    "coop": (
        "CoOp's training step from image vectors, 32 images, 200 classes: >= 12 times",
        lambda rounds: [compare("coop", 200, rounds)],
    ),
    "cocoop": (
        "CoCoOp's training step from image vectors, 4 images, 100 classes: >= 5 times",
        lambda rounds: [compare("cocoop", 100, rounds)],
    ),
    "promptsrc": (
        "PromptSRC's training step with the teacher's image vectors kept, 4 images, 200 classes: >= 6 times",
        lambda rounds: [compare("promptsrc", 200, rounds)],
    ),
    "evaluate": (
        "1,000 image vectors by 100 classes, against encoding the classes for each batch of 32: >= 5 times",
        evaluation,
    ),
    "newer-memory": (
        "a step with 1,000 classes at the authors' batch, the whole process: within 6 GB", lambda _: newer_memory(1000)
    ),
    "tip_adapter": ("Tip-Adapter, vectors at hand, 100 classes of 16 pictures: <= 1 second", tip),
} | {
    name: (
        f"{name}'s training step, {BATCH[name]} images, 100 classes: >= {goal}; its text side at 200: >= 15 times",
        lambda rounds, name=name: newer_row(name, 100, 200, rounds),
    )
    for name, goal in GOALS.items()
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", nargs="*", default=[*CLAIMS])
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    for what in asked.what:
        if what not in CLAIMS:
            options.error(f"{what!r}: choose from {', '.join(CLAIMS)}")
    keep_memory()
    for what, (claim, measure) in CLAIMS.items():
        if what in asked.what:
            write(f"adapt-{what}", {"claim": claim, "found": measure(asked.rounds)})


if __name__ == "__main__":
    main()
