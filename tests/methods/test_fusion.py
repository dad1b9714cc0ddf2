"""Bidirectional fusion is IVLP and MaPLe, with their authors' numbers, where its gates say so; and a slow mixture."""

import pytest
import torch
from golden_cases import Case, names
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError
from polyprompt.methods import fusion

OPEN, SHUT = 60.0, -200.0  # sigmoids of 1 and 0 in single precision


def depth_of(case: Case) -> int:
    """Blocks with prompts in each tower; 0 where they differ or a tower is too shallow, which fusion cannot be."""
    if case.facts["trainer"] not in ("IVLP", "MaPLe", "PromptSRC"):
        return 0
    depth = getattr(case.config, "depth", None) or case.config.text_depth
    fits = depth <= min(case.encoder.text.depth, case.encoder.image.depth)
    return depth if fits and getattr(case.config, "image_depth", depth) == depth else 0


CASES = [name for name in names() if depth_of(Case(name))]


def fused(case: Case, depth: int, text: float, image: float):
    """Fusion with the prompts and maps of a golden case, and these gates."""
    plain = case.build()
    count = case.recorded["n_ctx_used"]
    config = fusion.Config(context=count, depth=depth, words=getattr(case.config, "words", ""))
    method = build(config, case.encoder, case.class_names)
    with torch.no_grad():
        method.adapter.text_gates.fill_(text)
        method.adapter.image_gates.fill_(image)
        for ours, theirs in zip(method.adapter.text, plain.adapter.text, strict=True):
            ours.copy_(theirs)
    return method, plain


def gradients(method, case) -> dict[str, torch.Tensor]:
    view = method.see(case.tensors["images"])
    torch.nn.functional.cross_entropy(method.logits(view), case.tensors["labels"]).backward()
    return {name: parameter.grad for name, parameter in method.learned().items() if parameter.grad is not None}


def compare(case, method, plain, learned: dict[str, str]) -> None:
    """The authors' logits, and the plain method's gradients of what both learn."""
    with torch.no_grad():
        case.close(method.logits(method.see(case.tensors["images"])), "before.logits")
    ours, theirs = gradients(method, case), gradients(plain, case)
    for mine, plainly in learned.items():
        torch.testing.assert_close(ours[mine], theirs[plainly], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_gates_make_it_ivlp_or_maple(name):
    case = Case(name)
    depth = depth_of(case)
    if case.facts["trainer"] == "MaPLe":
        method, plain = fused(case, depth, OPEN, SHUT)
        for ours, theirs in zip(method.adapter.to_image, plain.adapter.couplings, strict=True):
            ours.load_state_dict(theirs.state_dict())
        names = {f"to_image.{i}.weight": f"couplings.{i}.weight" for i in range(depth)}
    else:
        method, plain = fused(case, depth, OPEN, OPEN)
        for ours, theirs in zip(method.adapter.image, plain.adapter.image, strict=True):
            ours.data.copy_(theirs)
        names = {f"image.{i}": f"image.{i}" for i in range(depth)}
    compare(case, method, plain, names | {f"text.{i}": f"text.{i}" for i in range(depth)})


def test_some_cases_are_compared():
    assert {Case(name).facts["trainer"] for name in CASES} >= {"MaPLe", "PromptSRC"}


def test_prompts_are_mixed_as_a_slow_loop_mixes_them():
    method = build(fusion.Config(depth=2, words="", gate=0.3), toy_encoder("clip"), NAMES)
    adapter, view = method.adapter, method.see(toy_images())
    text, image = adapter.text_change(view), adapter.image_change(view)
    for block in range(2):
        got = (text.input if block == 0 else text.prompts[block]).rows
        other = adapter.image[block] @ adapter.to_text[block].weight.T + adapter.to_text[block].bias
        torch.testing.assert_close(got, 0.3 * adapter.text[block] + 0.7 * other)
        got = (image.input if block == 0 else image.prompts[block]).rows
        other = adapter.text[block] @ adapter.to_image[block].weight.T + adapter.to_image[block].bias
        torch.testing.assert_close(got, 0.3 * adapter.image[block] + 0.7 * other)


def test_settings_that_cannot_be():
    for gate in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="gate is"):
            fusion.Config(gate=gate)
    with pytest.raises(ConfigError, match="depth is 9, but the text tower has 3 blocks"):
        build(fusion.Config(), toy_encoder("clip"), NAMES)
