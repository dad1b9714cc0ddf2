"""What every method promises on every family of encoders; a new file in methods/ is tested unasked."""

import functools
import itertools
import multiprocessing

import pytest
import torch
from toy_encoders import FAMILIES, NAMES, toy_encoder, toy_images

from polyprompt import methods
from polyprompt.adapt.adapter import method_name
from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import class_weighted, focal
from polyprompt.adapt.terms.prograd import Config as Projection
from polyprompt.adapt.terms.promptsrc import Config as Consistency
from polyprompt.adapt.wording import in_prompt
from polyprompt.errors import ConfigError, DataError, DependsOnPicturesError, FileError
from polyprompt.methods import coop, ivlp, language, maple, promptsrc, vpt
from polyprompt.runs.saved import load_adapter, save
from polyprompt.runs.training import Task
from polyprompt.towers.base import DualEncoder, ImageTower, TextTower
from polyprompt.towers.clip import PLAIN, Savings

SOFT = Consistency(templates=("a {}.", "one {}."), mean=2.0, std=2.0)
WITHOUT_DROPOUT = {"attention_dropout": 0.0, "dropout": 0.0}
SMALL = {
    "zeroshot": {},
    "lamm": {"words": "a photo", "shots": 16},
    "coprompt": {"depth": 2, "context": 2, "words": "a photo", "descriptions": {"{}": ("one {}.",)}},
    "coop": {"context": 3},
    "cocoop": {"context": 1, "reduction": 4, "words": "a"},
    "vpt": {"context": 2, "depth": 2},
    "language": {"context": 2, "depth": 2, "words": "a photo"},
    "ivlp": {"text_depth": 2, "image_depth": 3, "words": "a photo"},
    "maple": {"depth": 2, "words": "a photo"},
    "clip_lora": {"dropout": 0.0},
    "mma": {"start": 2, "end": 3, "width": 4, "scale": 0.1},
    "mmrl": {"layers": (2, 3), "tokens": 2, "space": 8},
    "tip_adapter": {"search_steps": (4, 3)},
    "promptsrc": {"text_depth": 2, "image_depth": 2, "words": "a photo", "consistency": SOFT},
    "kgcoop": {"context": 2, "words": "a photo"},
    "prograd": {"context": 2, "words": "a photo"},
    "tcp": {"block": 1, "tokens": 2},
    "clip_adapter": {},
    "fusion": {"depth": 2, "words": "a photo"},
    "bmip": {"depth": 3, "words": "a photo"},
    "mmap": {"depth": 2, "words": "a photo"},
    "defo": {"queries": 8, "length": 3, "start": "classes"},
    "taskres": {},
    "nearest_mean": {},
    "linear_probe": {},
    "vdt_adapter": {"descriptions": {"{}": ("a {}.", "one {}."), "cat": ("It purrs.",)}} | WITHOUT_DROPOUT,
}
VARIANTS = {
    **{name: (name, settings) for name, settings in SMALL.items()},
    "lamm, coop": ("lamm", {"words": "a photo", "beside": "coop", "shots": 16}),
    "lamm, maple": ("lamm", {"words": "a photo", "beside": "maple", "depth": 2, "shots": 16}),
    "coop, middle": ("coop", {"context": 3, "position": "middle"}),
    "coop, front": ("coop", {"context": 3, "position": "front"}),
    "coop, per class": ("coop", {"context": 2, "per_class": True}),
    "kgcoop, per class": ("kgcoop", {"context": 2, "words": "", "per_class": True}),
    "tcp, three learn": ("tcp", {"context": 3, "block": 2, "words": ""}),
    "maple, projected": ("maple", {"depth": 2, "words": "a photo"}, Projection()),
    "coop with consistency": ("coop", {"context": 3}, SOFT),
    "vpt, shallow": ("vpt", {"context": 2, "depth": 1}),
    "vpt, focal": ("vpt", {"context": 2, "depth": 1}, focal.Config()),
    "maple, weighted": ("maple", {"depth": 2, "words": "a photo"}, class_weighted.Config(weights={"cat": 3.0})),
    "vpt with consistency": ("vpt", {"context": 2, "depth": 2}, SOFT),
    "cocoop with consistency": ("cocoop", {"context": 1, "reduction": 4, "words": "a"}, SOFT),
    "mmap, tasks": ("mmap", {"depth": 2, "words": "", "tasks": {"photo": NAMES}}),
    "defo, random": ("defo", {"queries": 5, "length": 3}),
    "zeroshot, described": ("zeroshot", {"descriptions": {"{}": ("a {}.", "one {}."), "cat": ("It purrs.",)}}),
    "vdt_adapter, a map": ("vdt_adapter", {"descriptions": {"{}": ("a {}.", "one {}.")}, "kind": "linear_residual"}),
    "maple with consistency": ("maple", {"depth": 2, "words": "a photo"}, SOFT),
    "maple, late": ("maple", {"depth": 1, "words": "a photo", "text_start": 1, "image_start": 2}),
    "ivlp, late": ("ivlp", {"text_depth": 2, "image_depth": 1, "words": "", "text_start": 1, "image_start": 1}),
}


QUICK = ("maple", "clip_lora", "tcp")
"""On all families in the quick tests, the others on the first alone: rows in both towers, maps beside layers, rows of
each class's own. The slow tests have the whole product."""


def pairs(variants):
    """Families with methods, those slow that the quick tests leave out."""
    return [
        pytest.param((family, name), id=f"{family}-{name}", marks=() if is_quick(family, name) else pytest.mark.slow)
        for family, name in itertools.product(FAMILIES, variants)
    ]


def is_quick(family, name) -> bool:
    return family == FAMILIES[0] or name in QUICK


opened = functools.cache(toy_encoder)


@pytest.fixture(params=FAMILIES)
def encoder(request):
    return opened(request.param)


UNTRAINED = ("zeroshot", "zeroshot, described", "nearest_mean", "linear_probe")
"""Of which nothing learns."""
PER_PICTURE = ("cocoop", "cocoop with consistency")
"""Whose class vectors depend on the picture."""
BRANCHED = ("clip_lora", "mma")
"""With maps beside the towers' layers."""
CLOSED = {
    "coop, per class": "no context was learned for class 'zebra'",
    "kgcoop, per class": "no context was learned for class 'zebra'",
    "nearest_mean": "no mean was taken of class 'zebra'",
    "linear_probe": "nothing was fitted to class 'zebra'",
    "defo": "its layer has no row for class 'zebra'",
    "defo, random": "its layer has no row for class 'zebra'",
    "taskres": "no residual was learned for class 'zebra'",
    "tip_adapter": "the cache holds no picture of class 'zebra'",
}
"""Methods that know the classes they were trained on and no others."""


BY_BATCH = ("bmip",)
"""While training, what they make of a picture depends on the others in the batch."""


def those(chosen):
    """For a test of these methods alone."""
    return pytest.mark.parametrize("pair", pairs(chosen), indirect=True)


learns = those(name for name in VARIANTS if name not in UNTRAINED)


@pytest.fixture(params=pairs(VARIANTS))
def pair(request):
    return request.param


@pytest.fixture
def method(pair):
    family, name = pair
    return made(name, opened(family))


def made(variant, encoder):
    name, settings, *extra = VARIANTS[variant]
    return trainable(build(methods.config_of(name)(**settings), encoder, NAMES, seed=1, extra=extra))


def trainable(method):
    """A method that has seen its training pictures, if it wants to."""
    vectors = method.see(pictures(method)).images
    method.adapter.fit(vectors[None], labels(len(vectors)))
    return method


def pictures(method) -> torch.Tensor:
    return toy_images(size=method.encoder.image.preprocess.size)


def labels(count: int = 6) -> torch.Tensor:
    return torch.arange(count) % len(NAMES)


def test_every_method_is_listed_and_here():
    assert set(SMALL) == set(methods.names())


def test_cases_are_those_of_every_family():
    found = {one.values[0] for one in pairs(name for name in SMALL)}
    assert found == set(itertools.product(FAMILIES, SMALL))


def test_towers_keep_the_promise(encoder):
    assert isinstance(encoder, DualEncoder)
    assert isinstance(encoder.text, TextTower)
    assert isinstance(encoder.image, ImageTower)


@pytest.mark.parametrize("name", VARIANTS)
def test_methods_stand_in_the_lists_they_belong_to(name):
    method = made(name, toy_encoder("clip"))
    view = method.see(pictures(method))
    changes = method.adapter.text_change(view), method.adapter.image_change(view)
    assert (name in UNTRAINED) == (not method.learned())
    assert (name in PER_PICTURE) == (method.class_features(view).ndim == 3)
    assert (name in BRANCHED) == any(change.branches for change in changes)


@those(UNTRAINED)
def test_what_does_not_learn_has_no_gradient(method):
    assert not method.losses(method.see(pictures(method)), labels())["loss"].requires_grad


@learns
def test_gradients_reach_all_that_is_learned_and_nothing_else(method):
    for parameter in method.learned().values():
        parameter.data += 0.01  # from where nothing stands still: LoRA starts at zero
    frozen = method.see(pictures(method))
    loss = method.losses(frozen, labels())["loss"]
    learned = {id(parameter) for parameter in method.learned().values()}
    loss.backward()
    for name, parameter in method.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached == (id(parameter) in learned), name
        parameter.grad = None


def test_parts_of_the_loss_add_up(method):
    losses = method.losses(method.see(pictures(method)), labels())
    torch.testing.assert_close(losses["loss"], sum(value for key, value in losses.items() if key != "loss"))


def test_savings_change_no_number(method):
    """Plain: all classes at full length, every token through every block."""
    expected = method.logits(method.see(pictures(method)))
    method.encoder.saving(PLAIN)
    try:
        plain = method.for_classes(NAMES)
        torch.testing.assert_close(plain.logits(plain.see(pictures(method))), expected, atol=1e-4, rtol=1e-5)
    finally:
        method.encoder.saving(Savings())


def test_permuting_classes_permutes_logits(method):
    frozen = method.see(pictures(method))
    order = [2, 0, 3, 1]
    permuted = method.for_classes([NAMES[i] for i in order])
    torch.testing.assert_close(permuted.logits(frozen), method.logits(frozen)[:, order], atol=1e-5, rtol=1e-5)


UNSEEN = ("zebra", "cat", "large striped horse")


@those(CLOSED)
def test_new_class_names_are_refused_where_classes_were_learned(pair, method):
    with pytest.raises(DataError, match=CLOSED[pair[1]]) as error:
        method.for_classes(UNSEEN)
    assert "\n" not in str(error.value)


@those(name for name in VARIANTS if name not in CLOSED)
def test_new_class_names(method):
    new = method.for_classes(UNSEEN)
    view = method.see(pictures(method))
    assert new.logits(view).shape == (6, 3)
    scores = method.adapter.scores(method.image_features(view), method.class_features(view), method.scale)
    known = scores.get("class_token", scores["logits"])  # MMRL classifies new classes by its class token alone
    torch.testing.assert_close(new.logits(view)[:, 1], known[:, 0], atol=1e-5, rtol=1e-5)


def test_saved_and_loaded_to_the_last_bit(method, tmp_path):
    before = method.logits(method.see(pictures(method)))
    for parameter in method.learned().values():
        parameter.data += 0.01
    save(method, tmp_path / "adapter")
    back = load_adapter(tmp_path / "adapter", method.encoder)
    assert back.config == method.config
    after = back.logits(back.see(pictures(method)))
    assert torch.equal(after, method.logits(method.see(pictures(method))))
    assert torch.equal(after, before) != bool(method.learned())
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    }
    from safetensors import safe_open

    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert set(file.keys()) == set(method.adapter.state_dict())
        assert set(method.learned()) <= set(file.keys())


@learns
def test_twenty_steps_lower_the_loss(method):
    frozen, target = method.see(pictures(method)), labels()
    optimizer = torch.optim.Adam(list(method.learned().values()), lr=0.01)
    method.train()
    first = method.losses(frozen, target)["loss"]
    for _ in range(20):
        optimizer.zero_grad()
        loss = method.losses(frozen, target)["loss"]
        loss.backward()
        optimizer.step()
    assert method.losses(frozen, target)["loss"] < first - 0.003


@those(PER_PICTURE)
def test_class_vectors_of_a_picture_are_no_head(method):
    with pytest.raises(DependsOnPicturesError, match="depend on the picture"):
        method.head()


@torch.no_grad()  # as a head computes: where a gradient is wanted, attention is written out on a CPU
@those(name for name in VARIANTS if name not in PER_PICTURE)
def test_a_head_gives_the_same_logits_and_stays_as_it_is(method):
    """Class vectors and image change as constants; what is learned afterwards does not move them."""
    view = method.eval().see(pictures(method))
    expected = method.logits(view)
    head = method.head()
    assert torch.equal(head.logits(view), expected)
    assert torch.equal(head(pictures(method)), expected)
    for parameter in method.learned().values():
        parameter.data += 0.1
    assert torch.equal(head.logits(view), expected)
    assert torch.equal(method.head().logits(view), expected) != bool(method.learned())


@those(name for name in VARIANTS if name not in BY_BATCH)
def test_a_validation_loss_is_the_training_loss(method):
    """Nothing is asked of the mode: teachers are there in evaluation as well."""
    view = method.see(pictures(method))
    trained = method.train().losses(view, labels())
    validated = method.eval().losses(view, labels())
    torch.testing.assert_close(validated, trained, atol=0, rtol=0)


@those(BRANCHED)
def test_branches_are_maps_of_single_rows(method):
    """All savings rest on it: a branch of two rows together is the branch of each."""
    view = method.see(pictures(method))
    for change, width in (
        (method.adapter.text_change(view), method.encoder.text.width),
        (method.adapter.image_change(view), method.encoder.image.width),
    ):
        for branch in change.branches.values():
            x, y = torch.randn(3, width), torch.randn(5, width)
            torch.testing.assert_close(branch(torch.cat([x, y])), torch.cat([branch(x), branch(y)]))
            assert not torch.allclose(branch(x), branch(y[:3])) or not branch(torch.cat([x, y])).any()


NOTHING_YET = {
    "clip_lora": "a photo of a {}.",
    "defo": "a photo of a {}.",
    "kgcoop": "a photo {}.",
    "lamm": "a photo {}.",
    "prograd": "a photo {}.",
    "taskres": "a photo of a {}.",
}
"""Methods that change nothing until they have learned, and the sentence of zero-shot that they start from."""


@those(NOTHING_YET)
def test_untouched_it_is_zeroshot(pair):
    (family, name), names = pair, ("cat", "tabby cat", "dog", "big dog")  # TaskRes would keep an underscore
    zero = build(methods.config_of("zeroshot")(templates=(NOTHING_YET[name],)), opened(family), names)
    method = build(methods.config_of(name)(**SMALL[name]), opened(family), names).eval()
    view = zero.see(pictures(zero))
    scaled = method.logits(view) / method.scale * zero.scale
    torch.testing.assert_close(scaled, zero.logits(view), atol=1e-5, rtol=1e-5)


def test_a_context_that_is_its_words_is_zeroshot(encoder):
    """Prompts that are the words they start from, put where the words stand, change nothing."""
    template = "a photo of a {}."
    zero = build(methods.config_of("zeroshot")(templates=(template,)), encoder, NAMES)
    count = len(encoder.text.words("a photo of a"))
    same = build(coop.Config(context=count, words="a photo of a"), encoder, NAMES)
    frozen = zero.see(pictures(zero))
    torch.testing.assert_close(same.logits(frozen), zero.logits(frozen), atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_start(method):
    again, other = (trainable(build(method.config, method.encoder, NAMES, seed=seed)) for seed in (1, 2))
    for name, parameter in method.learned().items():
        assert torch.equal(parameter, again.learned()[name])
    drawn = [n for n, p in method.learned().items() if not torch.equal(p, other.learned()[n])]
    assert (
        drawn
        or not method.learned()
        or getattr(method.config, "words", "")
        or method_name(method.config) in ("tip_adapter", "taskres")
    )


def test_below_a_late_context_the_words_stay(encoder):
    """Slots, which are not there yet, and then the text that zero-shot reads."""
    settings = {
        "coop": {"context": 2, "start": 1},
        "language": {"context": 2, "depth": 1, "start": 1},
        "ivlp": {"text_context": 2, "text_depth": 1, "image_depth": 1, "text_start": 1},
        "maple": {"context": 2, "depth": 1, "text_start": 1},
        "promptsrc": {"text_context": 2, "text_depth": 1, "image_depth": 1, "text_start": 1},
    }
    for name, late in settings.items():
        method = build(methods.config_of(name)(**late, words="a photo of a"), encoder, NAMES)
        rows = method.adapter.rows(encoder.text, NAMES)
        assert rows == [[~0, ~1, *encoder.text.words(f"a photo of a {in_prompt(one)}.")] for one in NAMES]


def test_averaging_is_a_weighted_mean_of_the_epochs(encoder):
    method = build(maple.Config(depth=2, words="a photo"), encoder, NAMES, extra=[SOFT])
    snapshots = []
    for epoch in (1, 2, 3):
        for parameter in method.learned().values():
            parameter.data += 0.1 * epoch
        snapshots.append({name: p.detach().clone() for name, p in method.learned().items()})
        method.epoch_end(epoch, 3)
        method.epoch_end(epoch, 3)
    densities = torch.tensor([torch.tensor(-0.5 * ((e - 2.0) / 2.0) ** 2).exp() for e in (1, 2, 3)])
    weights = densities / densities.sum()
    for name, parameter in method.learned().items():
        mean = sum(weight * snapshot[name] for weight, snapshot in zip(weights, snapshots, strict=True))
        torch.testing.assert_close(parameter.detach(), mean)


def test_autocast_in_bfloat16_gives_nearly_the_same(method):
    expected = method.logits(method.see(pictures(method)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method.logits(method.see(pictures(method)))
    torch.testing.assert_close(half.float(), expected.float(), atol=0.6, rtol=0.1)


def step(method, frozen) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The loss of a batch, and its gradients."""
    loss = method.losses(frozen, labels())["loss"]
    return loss.detach(), torch.autograd.grad(loss, list(method.learned().values()))


@learns
def test_checkpointed_parts_give_the_same_loss_and_gradients(method):
    """Texts a few at a time, their inner states computed again for the gradient."""
    frozen = method.see(pictures(method))
    expected = step(method, frozen)
    method.encoder.saving(Savings(nodes=20))
    try:
        torch.testing.assert_close(step(method.for_classes(NAMES), frozen), expected, atol=1e-4, rtol=1e-4)
    finally:
        method.encoder.saving(Savings())


@learns
def test_autocast_gradients_point_the_same_way(method):
    draw = torch.Generator().manual_seed(0)
    for parameter in method.learned().values():  # away from a start where what little gradient there is cancels out
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    frozen = method.see(pictures(method))
    _, expected = step(method, frozen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, found = step(method, frozen)
    both = [torch.cat([part.flatten() for part in parts]) for parts in (expected, found)]
    assert torch.cosine_similarity(*both, dim=0) > 0.95


COMPILED = [(family, name) for family, name in itertools.product(FAMILIES, VARIANTS) if name not in UNTRAINED]


def compiled_step_is_the_plain_one(method, backend: str) -> None:
    frozen = method.see(pictures(method))
    expected = step(method, frozen)
    torch.compiler.reset()
    loss = torch.compile(method.losses, backend=backend)(frozen, labels())["loss"]
    found = loss.detach(), torch.autograd.grad(loss, list(method.learned().values()))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


# torch 2.14 warns about itself while it compiles: of profiler's, autograd's and its own old names.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("unchecked")
class TestCompiled:
    def test_the_smallest_one(self):
        compiled_step_is_the_plain_one(build(vpt.Config(context=1, depth=1), toy_encoder("clip"), NAMES), "aot_eager")

    @pytest.mark.slow
    @pytest.mark.parametrize("pair", COMPILED, ids="-".join, indirect=True)
    def test_every_one(self, method):
        compiled_step_is_the_plain_one(method, "aot_eager")

    @pytest.mark.slow
    def test_down_to_machine_code(self, encoder):
        compiled_step_is_the_plain_one(build(maple.Config(**SMALL["maple"]), encoder, NAMES), "inductor")


# Two processes


def small_methods(quick: bool):
    for family in FAMILIES:
        encoder = toy_encoder(family)
        for name, settings in SMALL.items():
            if name not in (*UNTRAINED, *BY_BATCH) and is_quick(family, name) == quick:
                config = methods.config_of(name)(**settings)
                yield f"{family}, {name}", trainable(build(config, encoder, NAMES, seed=1))
    for term in (focal.Config(weights={"cat": 3.0}), class_weighted.Config(weights={"cat": 3.0})):
        weighted = build(vpt.Config(context=1, depth=1), toy_encoder("clip"), NAMES, seed=1, extra=[term])
        yield f"clip, {type(term).__module__}", weighted


def one_of_two(rank: int, folder: str, quick: bool) -> None:
    """A process's life: its half of the batch, method by method."""
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    for key, method in small_methods(quick):
        half = slice(3 * rank, 3 * rank + 3)
        frozen = method.see(pictures(method)[half])
        parallel = DistributedDataParallel(Task(method))
        parallel({"pictures": frozen.pictures, "labels": labels()[half]})["loss"].backward()
        found |= {f"{key}, {name}": parameter.grad for name, parameter in method.learned().items()}
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_processes_give_the_gradients_of_one(quick, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_encoders"])
    workers = [context.Process(target=one_of_two, args=(rank, str(tmp_path), quick)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert worker.exitcode == 0
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    whole = {}
    for key, method in small_methods(quick):
        _, gradients = step(method, method.see(pictures(method)))
        whole |= {f"{key}, {name}": part for name, part in zip(method.learned(), gradients, strict=True)}
    assert len(whole) > 30
    for half in halves:
        torch.testing.assert_close(half, whole, atol=1e-5, rtol=1e-4)


# Bad input


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat"], "1 class [(]cat[)]"),
        (["cat", "dog", "cat"], "the classes 'cat' and 'cat' have one name"),
        (["big_dog", "big dog"], "the classes 'big_dog' and 'big dog' have one name"),
        (["cat", " "], "' ' is empty"),
        (["cat", "d" * 200], r"makes a prompt of \d+ tokens, the text tower reads at most"),
    ],
)
@those(SMALL)
def test_class_names_that_cannot_be(pair, names, message):
    message = "tokens" if "prompt of" in message else message
    family, name = pair
    with pytest.raises(DataError, match=message) as error:
        build(methods.config_of(name)(**SMALL[name]), opened(family), names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (maple.Config(depth=4, words="a photo"), "maple: depth is 4, but the text tower has 3 blocks"),
        (
            maple.Config(depth=2, text_start=2, image_start=2, words=""),
            "depth is 2, but the text tower has 3 blocks, 1 of them from block 2 on; give --set method.depth=1 or less",
        ),
        (maple.Config(depth=1, text_start=3, words=""), "0 of them from block 3 on; give a start of 2 or less"),
        (ivlp.Config(text_depth=4, image_depth=1), "text_depth is 4, but the text tower has 3 blocks"),
        (ivlp.Config(text_depth=1, image_depth=9), "ivlp: image_depth is 9, but the image tower has 3 blocks"),
        (vpt.Config(depth=2, start=2), "vpt: depth is 2, but the image tower has 3 blocks, 1 of them from block 2 on"),
        (language.Config(depth=12), "language: depth is 12"),
        (promptsrc.Config(), "promptsrc: text_depth is 9.* give --set method.text_depth=3 or less"),
        (maple.Config(depth=1, context=3, words="ab"), "'ab' is 2 tokens long, too short to start 3 context vectors"),
    ],
)
def test_settings_that_do_not_fit_the_encoder(config, message, encoder):
    with pytest.raises(ConfigError, match=message):
        build(config, encoder, NAMES)


@pytest.mark.parametrize("name", ["vpt", "ivlp", "maple", "promptsrc"])
def test_a_convolutional_image_tower_says_why_it_takes_no_prompts(name):
    with pytest.raises(ConfigError, match="is convolutional and has no tokens"):
        build(methods.config_of(name)(**SMALL[name]), toy_encoder("resnet"), NAMES)


@pytest.mark.parametrize("name", ["zeroshot", "coop", "cocoop", "language"])
def test_text_methods_run_on_a_convolutional_image_tower(name):
    method = build(methods.config_of(name)(**SMALL[name]), toy_encoder("resnet"), NAMES)
    assert method(toy_images()).shape == (6, 4)


def test_another_encoder_is_refused(encoder, tmp_path):
    save(build(coop.Config(context=2), encoder, NAMES), tmp_path / "adapter")
    with pytest.raises(FileError, match="with other weights or settings"):
        load_adapter(tmp_path / "adapter", toy_encoder("clip", seed=5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contxt": 3}, "coop: no setting is called 'contxt'. Did you mean context"),
        ({"context": "3"}, "coop: context is '3'; it should be a valid integer"),
        ({"context": 0}, "context is 0; it must be at least 1"),
        ({"position": "back"}, "position is 'back'"),
    ],
)
def test_settings_from_a_file_are_checked(settings, message):
    from polyprompt.runs.saved import config_from

    with pytest.raises(ConfigError, match=message):
        config_from("coop", settings)


PUBLISHED = [(name, protocol) for name in methods.names() for protocol in methods.records(name)]


@pytest.mark.parametrize(("name", "protocol"), PUBLISHED)
def test_published_settings_fit_a_vision_transformer_of_twelve_blocks(name, protocol):
    setting = methods.published(name, protocol)
    for field in ("depth", "text_depth", "image_depth"):
        assert getattr(setting.config, field, 1) <= 12
    assert 0 < setting.rate < 0.01
    assert setting.epochs or setting.steps_a_shot


def test_settings_of_settings_are_checked():
    from polyprompt.runs.saved import config_from, term_from

    with pytest.raises(ConfigError, match=r"no setting is called 'consistency.txt'. Did you mean consistency.text"):
        config_from("promptsrc", {"consistency": {"txt": 1}})
    with pytest.raises(ConfigError, match=r"std is 0\.0"):
        term_from("promptsrc", {"std": 0})
    with pytest.raises(ConfigError, match=r"no term is called 'promptsrs'. Did you mean 'promptsrc'"):
        term_from("promptsrs", {})


@those(SMALL)
def test_two_classes_of_one_name_where_the_published_set_has_them(pair, tmp_path):
    """They tie, as ImageNet's two missiles; a saved adapter opens again."""
    encoder, config = opened(pair[0]), methods.config_of(pair[1])(**SMALL[pair[1]])
    method = build(config, encoder, ["missile", "cat", "missile"], twins=("missile",)).eval()
    scores = method.logits(method.see(pictures(method)))
    torch.testing.assert_close(scores[:, 0], scores[:, 2])
    save(method, tmp_path / "kept")
    assert load_adapter(tmp_path / "kept", encoder).class_names == ("missile", "cat", "missile")
