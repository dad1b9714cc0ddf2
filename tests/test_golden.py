"""The authors' own numbers, case by case: logits, features, losses, gradients, steps (tests/golden/README.md).

Set POLYPROMPT_GOLDEN to other folders of the same layout, joined by the path separator, to run all cases in them.
"""

from functools import partial

import golden_cases as golden
import pytest
import torch
import torch.nn.functional as F
from golden_cases import TERMS, Case

from polyprompt.adapt.adapter import class_logits
from polyprompt.adapt.average import weights
from polyprompt.adapt.best import Best
from polyprompt.adapt.descriptions import described
from polyprompt.adapt.engine import build
from polyprompt.adapt.view import class_means
from polyprompt.adapt.wording import filled
from polyprompt.evaluate.classify import accuracy
from polyprompt.methods import clip_adapter, tip_adapter, zeroshot

TRAINER = {name: Case(name).facts["trainer"] for name in golden.names()}
TRAINED = [name for name, trainer in TRAINER.items() if trainer not in ("ZeroshotCLIP", "TipAdapter")]
ZEROSHOT = [name for name, trainer in TRAINER.items() if trainer == "ZeroshotCLIP"]
TIP = [name for name, trainer in TRAINER.items() if trainer == "TipAdapter"]
LAMM = ("LAMM", "MaPLe+LAMM")
OWN_TESTS = ("kl",)
"""Terms that do not add up to the loss."""
NEW = [name for name in TRAINED if "new.logits" in Case(name).tensors]


@pytest.fixture(scope="module", params=golden.names())
def case(request):
    return Case(request.param)


def test_every_case_is_run():
    assert TRAINED
    assert {*TRAINED, *ZEROSHOT, *TIP} == set(golden.names())


def test_tokens_are_those_of_the_authors(case):
    """Placeholder words stand where our slots are; all else must be equal, the end token's place included."""
    expected = case.tensors["tokenized_prompts"]
    text = case.encoder.text
    for row, prompt in zip(expected, case.recorded["prompts"], strict=True):
        ids = [*text.tokenizer.start, *text.words(prompt), *text.tokenizer.end]
        assert ids + [0] * (len(row) - len(ids)) == row.tolist()

    adapter = build(case.config, case.encoder, case.class_names).adapter
    for ours, row in zip(rows_of(case, adapter, case.class_names), expected, strict=True):
        if case.facts["trainer"] in LAMM:  # whose slots stand among the words
            check_tokens(case, ours, row)
            continue
        if case.facts["trainer"] == "MMRL":  # whose tokens have no places
            ours = [token for token in ours if token >= 0]
        ours = [*text.tokenizer.start, *ours, *text.tokenizer.end]
        theirs = row[: len(ours)].tolist()
        fixed = [token for token in ours if token >= 0]
        used = len(ours) - len(fixed)
        assert fixed == theirs[:1] + theirs[1 + used :]  # the authors' ids have the placeholders in front
        assert not row[len(ours) :].any()


def with_words() -> list[tuple[str, str]]:
    """Cases whose context starts from words, with the authors' name of it."""
    cases = [Case(name) for name in golden.names()]
    named = {"BMIP": "prompt_learner.ctx_t"}
    return [
        (case.name, named.get(case.facts["trainer"], "prompt_learner.ctx"))
        for case in cases
        if getattr(case.config, "words", "")
    ]


@pytest.mark.parametrize("name", [name for name, _ in with_words()])
def test_words_are_those_the_authors_took(name):
    assert "tokenized_ctx_init" in Case(name).tensors


@pytest.mark.parametrize(("name", "theirs"), [one for one in with_words() if one[1] in Case(one[0]).learnable])
def test_context_starts_from_the_words(name, theirs):
    """But LAMM's, whose words stay as they are."""
    case = Case(name)
    built = build(case.config, case.encoder, case.class_names)
    case.close(case.named(built)[theirs], f"init.{theirs}")


def rows_of(case: Case, adapter, names) -> list[list[int]]:
    """The method's; beside prompts that learn LAMM has a second one of each plain name."""
    rows = adapter.rows(case.encoder.text, names)
    return rows[:: len(rows) // len(names)] if case.facts["trainer"] in LAMM else rows


def check_outputs(case: Case, method, when: str) -> None:
    with torch.no_grad():
        view = method.see(case.tensors["images"])
        images = method.image_features(view)
        scores = method.adapter.scores(images, method.class_features(view), method.scale)
        case.close(scores.get("class_token", scores["logits"]), f"{when}.logits")
        if f"{when}.logits_fusion" in case.tensors:
            case.close(scores["representation"], f"{when}.logits_rep")
            fused = scores["logits"] if method.adapter.fused else case.tensors[f"{when}.logits_fusion"]
            case.close(fused, f"{when}.logits_fusion")
            case.close(images[1], f"{when}.image_features_rep")
        if f"{when}.adapter_output" in case.tensors:
            case.close(adapter_output(method, view), f"{when}.adapter_output")
            images = view.images
        classes = method.class_features(view)
        if case.facts["trainer"] == "CoPrompt":  # whose features are those before its maps
            images, classes = method._image_out(view).vectors, method.text_out(view).vectors
        if f"{when}.image_features" in case.tensors:
            case.close(images[0] if images.ndim == 3 else images, f"{when}.image_features")
        if f"{when}.text_features" in case.tensors:
            case.close(classes.transpose(0, 1) if classes.ndim == 3 else classes, f"{when}.text_features")


def adapter_output(method, view) -> torch.Tensor:
    """What CLIP-Adapter or VDT-Adapter makes of finished vectors, before it is mixed with them."""
    if isinstance(method.adapter, clip_adapter.CLIPAdapter):
        return method.adapter.fc(view.images)
    sentences = method.text_out(view).vectors.unflatten(0, (len(method.class_names), -1))
    if method.config.kind == "self_attn":
        return method.adapter.attn(sentences, torch.ones(sentences.shape[:2], dtype=torch.bool))
    return method.adapter.fc(sentences.mean(dim=1))


@pytest.mark.parametrize("name", [name for name in TRAINED if TRAINER[name] == "CLIP_Adapter_gpt"])
def test_sentences_and_their_zeroshot(name):
    case = Case(name)
    method, view = case.build(), case.build().see(case.tensors["images"])
    case.close(method.text_out(view).vectors.unflatten(0, (len(case.class_names), -1)), "sentence_features")
    plain = zeroshot.Config(descriptions=case.config.descriptions, unit_mean=False)
    plain = build(plain, case.encoder, case.class_names)
    case.close(plain.class_features(view), "zeroshot.text_features")
    case.close(plain.logits(view), "zeroshot.logits")


@pytest.mark.parametrize("name", [name for name in TRAINED if TRAINER[name] == "TaskRes"])
def test_the_base_of_residuals(name):
    case = Case(name)
    method = case.build()
    case.close(method.class_features(method.see(case.tensors["images"])), "base_text_features")


@pytest.mark.parametrize("name", TRAINED)
def test_outputs_before_training(name):
    case = Case(name)
    method = case.build()
    assert set(case.named(method)) == set(case.learnable)
    for theirs, parameter in case.named(method).items():
        assert list(parameter.shape) == case.learnable[theirs]
    check_outputs(case, method, "before")


@pytest.mark.parametrize("name", TRAINED)
def test_training(name):
    case = Case(name)
    method, facts = case.build(), case.facts
    labels = case.tensors["labels"]
    optimizer = case.optimizer(method)
    method.train()
    for step in range(facts["steps"]):
        batch = facts["batches"][step % len(facts["batches"])]
        if "picks" in facts:
            method.terms[1].share = partial(case.pick, step)
        losses = method.losses(case.see(method, batch), labels[batch])
        case.close(losses["loss"], "loss.steps", step)
        for theirs in [key.removeprefix("loss.") for key in case.tensors if key.startswith("loss.")]:
            if theirs not in ("steps", *OWN_TESTS):
                case.close(losses[TERMS[theirs]], f"loss.{theirs}", step)
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
    check_outputs(case, case.using(method), "after")
    if "after.logits_one_by_one" in case.tensors:
        case.close(method.eval().logits(method.see(case.tensors["images"])), "after.logits_one_by_one")


def end_epoch(case: Case, method, epoch: int) -> None:
    last = epoch == case.facts["epochs"]
    if last and "after_without_gpa.logits" in case.tensors:
        with torch.no_grad():
            case.close(method.logits(method.see(case.tensors["images"])), "after_without_gpa.logits")
    method.epoch_end(epoch, case.facts["epochs"])
    method.epoch_end(epoch, case.facts["epochs"])  # told twice, counted once
    for key in case.expected(f"gpa.epoch{epoch}"):
        own = next(own for own, theirs in golden.original_names(method).items() if theirs == key)
        average = method.terms[1].average  # theirs is a sum of which the weights so far are a part
        so_far = sum(weights(case.facts["epochs"], average.mean, average.std)[:epoch])
        case.close(so_far * getattr(average, own.replace(".", "_")), f"gpa.epoch{epoch}.{key}")
    if last:
        for key, parameter in case.named(method).items():
            case.close(parameter, f"gpa.final.{key}")


@pytest.mark.parametrize("name", NEW)
def test_new_classes_after_training(name):
    case = Case(name)
    method = case.build()
    steps = case.facts["steps"]
    case.put(f"step{steps}", method)
    new = case.using(method.for_classes(case.facts["new_classnames"]))
    for row, expected in zip(
        rows_of(case, new.adapter, new.class_names), case.tensors["new.tokenized_prompts"], strict=True
    ):
        check_tokens(case, row, expected)
    check_outputs(case, new, "new")


@pytest.mark.parametrize("name", [name for name in TRAINED if TRAINER[name] == "ProGrad"])
def test_projection(name):
    """Both gradients of the first step, and by which angle they part."""
    case = Case(name)
    method, images, labels = case.build(), case.tensors["images"], case.tensors["labels"]
    batch, seen = case.facts["batches"][0], []
    method.terms[1].register_forward_hook(lambda term, args, out: seen.append(term.general(args[0])))
    losses = method.losses(method.see(images[batch]), labels[batch])
    case.close(seen[0], "loss.kl", 0)
    (context,) = method.learned().values()
    own, general = (torch.autograd.grad(one, context, retain_graph=True)[0] for one in (losses["cross_entropy"], *seen))
    case.close(own, "grad_ce.prompt_learner.ctx")
    case.close(general, "grad_kl.prompt_learner.ctx")
    case.close(F.cosine_similarity(own.flatten(), general.flatten(), dim=0), "prograd.cosine", 0)
    view = method.see(images)
    teacher = F.normalize(view.classes([method.terms[1].config.template])[:, 0], dim=-1)
    case.close(method.scale * F.normalize(view.images, dim=-1) @ teacher.T, "teacher.logits")


@pytest.mark.parametrize("name", [name for name in TRAINED if TRAINER[name] in LAMM])
def test_tokens_start_as_the_names_and_are_held_to_them(name):
    case = Case(name)
    method = case.build()
    case.close(build(case.config, case.encoder, case.class_names).adapter.tokens, "init.prompt_learner.token_classes")
    seen, term = [], method.terms[1]
    term.register_forward_hook(lambda term, args, out: seen.append(method.adapter.reference(args[0])))
    method.losses(method.see(case.tensors["images"]), case.tensors["labels"])
    case.close(F.normalize(seen[0], dim=-1), "teacher.text_features_normalised")


@pytest.mark.parametrize("name", [name for name in TRAINED if TRAINER[name] == "CoPrompt"])
def test_other_words_and_another_view(name):
    """What the frozen encoder makes of sentences and of the second view; tokens, for new classes too."""
    case = Case(name)
    method, text = case.build(), case.encoder.text
    view, term, expected = case.see(method), method.terms[1], case.tensors["teacher.text_features_normalised"]
    for number, vectors in enumerate(expected):
        found = term.sentences(view, (number + 0.5) / len(expected))
        torch.testing.assert_close(F.normalize(found, dim=-1), vectors, **case.tolerance)
    case.close(F.normalize(view.images_again, dim=-1), "teacher.image_features_normalised")
    for when, names in (("", case.class_names), ("new.", case.facts.get("new_classnames", []))):
        for kind, rows in enumerate(described(text, case.config.descriptions, names)):
            for row, tokens in zip(rows, case.tensors[f"{when}teacher.tokenized_prompts"][:, kind], strict=True):
                check_tokens(case, row, tokens)


@pytest.mark.parametrize("name", [name for name in TRAINED if "teacher.text_features_normalised" in Case(name).tensors])
def test_the_teacher_and_what_is_made_of_it(name):
    case = Case(name)
    method = case.build()
    view = method.see(case.tensors["images"])
    if hasattr(method.adapter, "class_prompts"):
        case.close(method.adapter.class_prompts(view), "before.class_prompts")
    if template := getattr(method.config, "template", ""):
        case.close(F.normalize(view.classes([template])[:, 0], dim=-1), "teacher.text_features_normalised")


def check_tokens(case: Case, row: list[int], expected: torch.Tensor) -> None:
    """Whatever is no slot is the authors'."""
    if case.facts["trainer"] == "MMRL":  # whose slots have no places
        row = [token for token in row if token >= 0]
    row = [49406, *row, 49407]
    assert all(ours in (theirs, min(ours, -1)) for ours, theirs in zip(row, expected.tolist(), strict=False))
    assert not expected[len(row) :].any()


@pytest.mark.parametrize("name", TIP)
def test_tip_adapter(name):
    """Cache, the search without training, the keys' training, the search with the keys that the authors chose."""
    case = Case(name)
    method, labels = build(case.config, case.encoder, case.class_names), case.tensors["labels"]
    adapter, facts = method.adapter, case.facts
    views = ["images", *sorted(key for key in case.tensors if key.startswith("images.view"))]
    vectors = torch.stack([method.see(case.tensors[view]).images for view in views])
    adapter.fit(vectors, labels)
    test, val = method.see(case.tensors["test.images"]), method.see(case.tensors["val.images"])
    with torch.no_grad():
        case.close(adapter.keys.T, "cache.keys")
        case.close(adapter.values, "cache.values")
        case.close(F.normalize(method.class_features(test), dim=-1).T, "clip_weights")
        case.close(F.normalize(test.images, dim=-1), "test.features")
        case.close(method.logits(test), "before.logits")
        case.close(method.logits(val), "val.before.logits")
    start = adapter.weights.clone()

    def searched(prefix: str, logits: str) -> None:
        plain = class_logits(val.images, method.class_features(val), method.scale)
        likeness = F.normalize(val.images, dim=-1) @ adapter.keys.T
        found = tip_adapter.search(case.config, plain, likeness, adapter.values, val_labels)
        case.close(found.accuracy, f"{prefix}.accuracy")
        case.close(torch.tensor([found.beta, found.alpha], dtype=torch.float64), f"{prefix}.best_beta_alpha")
        adapter.tune(val.images, val_labels, method.class_features(val), float(method.scale))
        with torch.no_grad():
            case.close(method.logits(test), logits)

    val_labels = case.tensors["val.labels"]
    with torch.no_grad():
        searched("search", "searched.logits")
    adapter.weights.copy_(start)
    case.close(adapter.keys, "init.adapter.weight")
    optimizer, view, best = case.optimizer(method), case.tensors["images"], Best(adapter)
    for step in range(facts["steps"]):
        batch = facts["batches"][step % len(facts["batches"])]
        losses = method.losses(method.see(view[batch]), labels[batch])
        case.close(losses["loss"], "loss.steps", step)
        optimizer.zero_grad()
        losses["loss"].backward()
        if not step:
            case.close(adapter.keys.grad, "grad.adapter.weight")
        optimizer.step()
        case.close(adapter.keys, f"step{step + 1}.adapter.weight")
        if (step + 1) % facts["batches_per_epoch"] == 0:
            epoch = step // facts["batches_per_epoch"]
            with torch.no_grad():
                case.close(method.logits(test), "epoch.test.logits", epoch)
                best.offer(adapter, epoch, accuracy(method.logits(test), case.tensors["test.labels"]))
    best.restore(adapter)  # chosen on test, as select=authors-test does
    assert best.epoch == case.recorded["best_epoch"]
    case.close(adapter.keys, "best.adapter.weight")
    with torch.no_grad():
        searched("search.F", "after.logits")


@pytest.mark.parametrize("name", [name for name in TRAINED if TRAINER[name] == "PromptSRC"])
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
