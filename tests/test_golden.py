"""The authors' own numbers, case by case: logits, features, losses, gradients, steps (tests/golden/README.md).

Set POLYPROMPT_GOLDEN to another folder of the same layout to run the same tests on other sizes and names.
"""

import golden_cases as golden
import pytest
import torch
import torch.nn.functional as F
from golden_cases import TOLERANCE, Case

from polyprompt.adapt.average import weights
from polyprompt.adapt.engine import build
from polyprompt.adapt.view import class_means
from polyprompt.adapt.wording import filled
from polyprompt.methods import zeroshot

TRAINED = [name for name in golden.names() if Case(name).facts["trainer"] != "ZeroshotCLIP"]
ZEROSHOT = [name for name in golden.names() if name not in TRAINED]


@pytest.fixture(scope="module", params=golden.names())
def case(request):
    return Case(request.param)


def test_there_are_cases():
    assert TRAINED
    assert ZEROSHOT


def test_tokens_are_those_of_the_authors(case):
    """Placeholder words stand where our slots are; all else must be equal, the end token's place included."""
    expected = case.tensors["tokenized_prompts"]
    text = case.encoder.text
    for row, prompt in zip(expected, case.recorded["prompts"], strict=True):
        ids = [*text.tokenizer.start, *text.words(prompt), *text.tokenizer.end]
        assert ids + [0] * (len(row) - len(ids)) == row.tolist()

    adapter = build(case.config, case.encoder, case.class_names).adapter
    for ours, row in zip(adapter.rows(text, case.class_names), expected, strict=True):
        ours = [*text.tokenizer.start, *ours, *text.tokenizer.end]
        theirs = row[: len(ours)].tolist()
        fixed = [token for token in ours if token >= 0]
        used = len(ours) - len(fixed)
        assert fixed == theirs[:1] + theirs[1 + used :]  # the authors' ids have the placeholders in front
        assert not row[len(ours) :].any()


def test_context_starts_from_the_words(case):
    if not getattr(case.config, "words", ""):
        return  # a random start, which is read from the file
    assert "tokenized_ctx_init" in case.tensors
    built = build(case.config, case.encoder, case.class_names)
    context = case.named(built)["prompt_learner.ctx"]
    case.close(context, "init.prompt_learner.ctx")


def check_outputs(case: Case, method, when: str) -> None:
    with torch.no_grad():
        view = method.see(case.tensors["images"])
        case.close(method.logits(view), f"{when}.logits")
        case.close(method.image_features(view), f"{when}.image_features")
        classes = method.class_features(view)
        case.close(classes.transpose(0, 1) if classes.ndim == 3 else classes, f"{when}.text_features")


@pytest.mark.parametrize("name", TRAINED)
def test_outputs_before_training(name):
    case = Case(name)
    method = case.build()
    assert set(case.named(method)) == set(case.recorded["learnable"])
    for theirs, parameter in case.named(method).items():
        assert list(parameter.shape) == case.recorded["learnable"][theirs]
    check_outputs(case, method, "before")


@pytest.mark.parametrize("name", TRAINED)
def test_training(name):
    case = Case(name)
    method, facts = case.build(), case.facts
    images, labels = case.tensors["images"], case.tensors["labels"]
    optimizer = torch.optim.SGD(list(method.learned().values()), **facts["optim"])
    method.train()
    for step in range(facts["steps"]):
        batch = facts["batches"][step % len(facts["batches"])]
        losses = method.losses(method.see(images[batch]), labels[batch])
        torch.testing.assert_close(losses["loss"].detach(), case.tensors["loss.steps"][step], **TOLERANCE)
        for ours, theirs in (
            ("cross_entropy", "ce"),
            ("text_drift", "scl_text"),
            ("image_drift", "scl_image"),
            ("logit_drift", "scl_logits"),
        ):
            if f"loss.{theirs}" in case.tensors:
                torch.testing.assert_close(losses[ours].detach(), case.tensors[f"loss.{theirs}"][step], **TOLERANCE)
        optimizer.zero_grad()
        losses["loss"].backward()
        if step == 0:
            reached = {name: p.grad for name, p in case.named(method).items() if p.grad is not None}
            assert set(reached) == set(case.expected("grad"))
            for key, gradient in reached.items():
                case.close(gradient, f"grad.{key}")
        optimizer.step()
        for key, parameter in case.named(method).items():
            case.close(parameter, f"step{step + 1}.{key}")
        if "epochs" in facts and (step + 1) % facts["batches_per_epoch"] == 0:
            end_epoch(case, method, (step + 1) // facts["batches_per_epoch"])
    method.eval()
    check_outputs(case, method, "after")


def end_epoch(case: Case, method, epoch: int) -> None:
    last = epoch == case.facts["epochs"]
    if last and "after_without_gpa.logits" in case.tensors:
        with torch.no_grad():
            case.close(method.logits(method.see(case.tensors["images"])), "after_without_gpa.logits")
    method.epoch_end(epoch, case.facts["epochs"])
    method.epoch_end(epoch, case.facts["epochs"])  # told twice, counted once
    for key in case.expected(f"gpa.epoch{epoch}"):
        own = next(own for own, theirs in golden.original_names(method).items() if theirs == key)
        case.close(getattr(method.terms[1].average, own.replace(".", "_")), f"gpa.epoch{epoch}.{key}")
    if last:
        for key, parameter in case.named(method).items():
            case.close(parameter, f"gpa.final.{key}")


@pytest.mark.parametrize("name", [name for name in TRAINED if Case(name).facts["trainer"] == "PromptSRC"])
def test_teacher(name):
    case = Case(name)
    method = case.build()
    images = case.tensors["images"]
    templates, text = case.recorded["teacher_templates"], case.encoder.text
    tokens = case.tensors["teacher.tokenized_prompts"]
    rows = filled(text, templates, case.class_names)
    for number, row in enumerate(rows):  # class by class, the authors' template by template
        kind, template = divmod(number, len(templates))
        ids = [*text.tokenizer.start, *row, *text.tokenizer.end]
        assert ids + [0] * (tokens.shape[-1] - len(ids)) == tokens[template, kind].tolist()
    features = torch.cat(text.below(text.prepare(rows), None)).unflatten(0, (len(case.class_names), -1))
    case.close(features.mean(dim=1), "teacher.text_features_mean")
    view = method.see(images)
    teacher = class_means(view.classes(templates), unit_first=False)
    case.close(teacher, "teacher.text_features_normalised")
    unit = F.normalize(view.images, dim=-1)
    case.close(unit, "teacher.image_features_normalised")
    case.close(method.scale * unit @ teacher.T, "teacher.logits")
    case.close(F.normalize(method.image_features(view), dim=-1), "student.image_features_normalised")
    case.close(F.normalize(method.class_features(view), dim=-1), "student.text_features_normalised")
    case.close(method.logits(view), "student.logits")
    settings = method.config.consistency
    found = torch.tensor(weights(case.facts["epochs"], settings.mean, settings.std), dtype=torch.float64)
    case.close(found, "gpa.weights")


@pytest.mark.parametrize("name", ZEROSHOT)
def test_zeroshot(name):
    case = Case(name)
    images = case.tensors["images"]
    one = case.build()
    view = one.see(images)
    case.close(view.images, "before.image_features")
    case.close(one.class_features(view), "before.text_features_normalised")
    case.close(one.logits(view), "before.logits")
    several = zeroshot.Config(templates=tuple(case.recorded["ensemble_templates"]))
    ensemble = build(several, case.encoder, case.class_names)
    case.close(ensemble.class_features(view), "ensemble.before.text_features_normalised")
    case.close(ensemble.logits(view), "ensemble.before.logits")
