"""MmAP: one source for both towers and several tasks; with one task it is MaPLe with couplings of its kind."""

import pytest
import torch
import torch.nn.functional as F
from golden_cases import Case
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.tasks import build_tasks
from polyprompt.errors import ConfigError, UnknownNameError
from polyprompt.methods import maple, mmap
from polyprompt.runs.saved import load_adapter, save

SMALL = mmap.Config(depth=2, words="a photo of a")
TASKS = {"photo": ("cat", "dog", "otter"), "sketch": ("cat", "dog"), "cartoon": ("horse", "house", "guitar")}


@pytest.mark.parametrize("name", ["maple_depth1", "zeroshot"])
def test_with_one_task_it_is_maple_whose_couplings_are_multiples_of_the_identity(name):
    """Same logits, same gradients: where the image tower is as wide as the text tower, and twice as wide."""
    case = Case(name)
    encoder, words = case.encoder, "a photo of a"
    text, image = encoder.text.width, encoder.image.width
    ours = build(mmap.Config(context=2, depth=1, words=words), encoder, case.class_names)
    theirs = build(maple.Config(context=2, depth=1, words=words), encoder, case.class_names)
    torch.testing.assert_close(ours.adapter.shared.source[0], theirs.adapter.text[0])  # words, where widths allow it
    multiples = torch.linspace(0.5, 2, image // text)
    with torch.no_grad():
        ours.adapter.shared.image[0].copy_(multiples[None])
        theirs.adapter.couplings[0].weight.copy_(torch.cat([k * torch.eye(text) for k in multiples]))
        theirs.adapter.couplings[0].bias.zero_()
    view, labels = ours.see(case.tensors["images"]), case.tensors["labels"]
    logits = [method.logits(method.see(case.tensors["images"])) for method in (ours, theirs)]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)
    (source,) = torch.autograd.grad(F.cross_entropy(ours.logits(view), labels), ours.adapter.shared.source[0])
    (prompts,) = torch.autograd.grad(F.cross_entropy(theirs.logits(view), labels), theirs.adapter.text[0])
    torch.testing.assert_close(source, prompts, atol=1e-5, rtol=1e-4)


def test_the_text_side_of_one_task_gives_the_authors_numbers_of_maple():
    """Before and after their training: no coupling is in it, and gates of ones leave the source as it is."""
    case = Case("maple_depth1")
    method = build(mmap.Config(context=2, depth=1, words="a photo of a"), case.encoder, case.class_names)
    view = method.see(case.tensors["images"])
    with torch.no_grad():
        for when in ("before", "after"):
            case.close(method.class_features(view), f"{when}.text_features")
            method.adapter.shared.source[0].copy_(case.tensors["step5.prompt_learner.ctx"])


def test_prompts_are_blocks_that_are_multiples_of_each_other():
    method = build(SMALL, toy_encoder("clip"), NAMES)  # widths 32 and 48, so a unit of 16
    sources = method.adapter.shared
    sources.text[1].data = torch.tensor([[1.0, -3.0]])
    change = method.adapter.text_change(method.see(toy_images()))
    left, right = change.prompts[1].rows.chunk(2, dim=1)
    assert left.shape == (2, 16)
    torch.testing.assert_close(right, -3 * left)
    assert sum(p.numel() for p in method.learned().values()) == 2 * (2 * 16 + 2 + 3)


def test_tasks_share_what_is_shared_and_nothing_else():
    methods = build_tasks(SMALL, toy_encoder("clip"), TASKS)
    assert {name: method.class_names for name, method in methods.items()} == TASKS
    pixels = toy_images()
    for number, (_, method) in enumerate(methods.items()):
        method.losses(method.see(pixels), torch.arange(6) % 2)["loss"].backward()
        reached = {name for name, p in method.learned().items() if p.grad is not None and p.grad.abs().sum() > 0}
        own = {name.split(".")[1] for name in reached if name.startswith("own")}
        assert own == {str(number)}
        assert "shared.source.0" in reached
        for parameter in method.learned().values():
            parameter.grad = None


def test_training_them_together_lowers_the_loss_of_each():
    methods = build_tasks(SMALL, toy_encoder("clip"), TASKS)
    (first, *_) = methods.values()
    optimizer = torch.optim.Adam(first.learned().values(), lr=0.02)
    pixels = {task: toy_images(seed=number) for number, task in enumerate(methods)}
    labels = {task: torch.arange(6) % len(method.class_names) for task, method in methods.items()}

    def losses():
        return {task: method.losses(method.see(pixels[task]), labels[task])["loss"] for task, method in methods.items()}

    before = losses()
    for _ in range(30):
        optimizer.zero_grad()
        sum(losses().values()).backward()
        optimizer.step()
    assert all(after < before[task] for task, after in losses().items())


def test_a_task_is_saved_and_opened_at_work(tmp_path):
    encoder = toy_encoder("clip")
    for task, method in build_tasks(SMALL, encoder, TASKS, seed=3).items():
        save(method, tmp_path / task)
        back = load_adapter(tmp_path / task, encoder)
        assert torch.equal(back(toy_images()), method(toy_images()))
        assert back.class_names == TASKS[task]
        assert torch.equal(back.for_task("sketch")(toy_images()), method.for_task("sketch")(toy_images()))


def test_settings_that_cannot_be():
    encoder = toy_encoder("clip")
    with pytest.raises(ConfigError, match="unit is 32; it must divide both towers' widths, 32 and 48"):
        build(mmap.Config(depth=1, unit=32), encoder, NAMES)
    with pytest.raises(ConfigError, match="unit is -16"):
        build(mmap.Config(depth=1, unit=-16), encoder, NAMES)
    with pytest.raises(ConfigError, match="depth is 9, but the text tower has 3 blocks"):
        build(mmap.Config(), encoder, NAMES)
    with pytest.raises(ConfigError, match="mmap was trained for one task, and has none called 'photo'"):
        build(SMALL, encoder, NAMES).for_task("photo")
    with pytest.raises(ConfigError, match="maple learns one task at a time, not several"):
        build_tasks(maple.Config(depth=1), encoder, TASKS)
    with pytest.raises(UnknownNameError, match="no task of this MmAP is called 'foto'"):
        build_tasks(SMALL, encoder, TASKS)["photo"].adapter.for_task("foto")
