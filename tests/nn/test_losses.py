"""Losses against slow loops, against open_clip, and several processes against one."""

import math
import multiprocessing

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from polyprompt.errors import ConfigError, TrainingError
from polyprompt.nn import losses
from polyprompt.nn.losses import agreement, cosent, diversity, drift, negation, sigmoid_contrast, softmax_contrast

SIZES = [(1, 1), (2, 3), (7, 5), (13, 4)]
FLOAT = torch.float64


def units(*shape, seed=0, dtype=FLOAT):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def number(value, dtype=FLOAT):
    return torch.tensor(value, dtype=dtype)


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def surprise(logits, own):
    """-log softmax(logits)[own], one exponential at a time."""
    top = max(logits)
    return math.log(sum(math.exp(x - top) for x in logits)) + top - logits[own]


def gradients(loss, *tensors):
    tensors = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    value = loss(*tensors)
    value.backward()
    return [value.detach(), *(tensor.grad for tensor in tensors)]


# Slow loops


@pytest.mark.parametrize(("n", "width"), SIZES)
@pytest.mark.parametrize("tile", [1, 3, 5, 1024])
def test_softmax_contrast_equals_the_slow_loop(n, width, tile):
    texts, images = units(n, width, seed=1), units(n, width, seed=2)
    slow = 0.0
    for i in range(n):
        slow += surprise([7.5 * dot(texts[i], images[j]) for j in range(n)], i) / (2 * n)
        slow += surprise([7.5 * dot(texts[j], images[i]) for j in range(n)], i) / (2 * n)
    torch.testing.assert_close(softmax_contrast(texts, images, number(7.5), tile=tile), number(slow))


@pytest.mark.parametrize(("n", "width"), SIZES)
@pytest.mark.parametrize("tile", [1, 3, 5, 1024])
def test_sigmoid_contrast_equals_the_slow_loop(n, width, tile):
    texts, images = units(n, width, seed=1), units(n, width, seed=2)
    slow = 0.0
    for i in range(n):
        for j in range(n):
            sign = 1 if i == j else -1
            slow += math.log1p(math.exp(-sign * (10 * dot(texts[i], images[j]) - 2.5))) / n
    found = sigmoid_contrast(texts, images, number(10.0), number(-2.5), tile=tile)
    torch.testing.assert_close(found, number(slow))


@pytest.mark.parametrize(("n", "width"), SIZES)
@pytest.mark.parametrize("columns", ["own", "all", "hinge"])
def test_negation_equals_the_slow_loop(n, width, columns):
    images, texts, negated = units(n, width, seed=1), units(n, width, seed=2), units(n, width, seed=3)
    slow = 0.0
    for i in range(n):
        own, other = dot(images[i], texts[i]), dot(images[i], negated[i])
        if columns == "hinge":
            slow += max(0.0, 0.2 + other - own) / n  # VSE++'s margin
            continue
        rivals = [other] if columns == "own" else [dot(images[i], row) for row in negated]
        slow += surprise([4 * x for x in [*(dot(images[i], row) for row in texts), *rivals]], i) / n
    found = negation(images, texts, negated, number(4.0), columns=columns, tile=3)
    torch.testing.assert_close(found, number(slow))


@pytest.mark.parametrize(("b", "k", "d"), [(1, 2, 3), (3, 2, 5), (4, 6, 7), (5, 1, 2)])
def test_diversity_equals_the_slow_loop(b, k, d):
    readouts = torch.randn(b, k, d, generator=torch.Generator().manual_seed(b), dtype=FLOAT) + 3
    squares = []
    for i in range(b):
        rows = []
        for prompt in range(k):
            mean = [sum(float(readouts[j, prompt, x]) for j in range(b)) / b for x in range(d)]
            rows.append([float(readouts[i, prompt, x]) - mean[x] for x in range(d)])
        for p in range(k):
            for q in range(p):
                lengths = math.sqrt(dot(rows[p], rows[p]) * dot(rows[q], rows[q]))
                squares.append((dot(rows[p], rows[q]) / lengths) ** 2 if lengths else 0.0)
    slow = sum(squares) / len(squares) if squares else 0.0
    torch.testing.assert_close(diversity(readouts), number(slow))


@pytest.mark.parametrize(("b", "k", "e"), [(2, 2, 1), (5, 3, 2), (7, 6, 4), (4, 1, 3)])
def test_agreement_equals_numpy_on_every_pair(b, k, e):
    texts, images = units(b, k * e, seed=1).unflatten(1, (k, e)) + 0.3, units(b, k * e, seed=2).unflatten(1, (k, e))
    scores = [[dot(one[s], two[s]) for one in texts for two in images] for s in range(k)]
    correlations = np.corrcoef(scores)
    squares = [correlations[p, q] ** 2 for p in range(k) for q in range(p)]
    torch.testing.assert_close(agreement(texts, images), number(np.mean(squares) if squares else 0.0))


@pytest.mark.parametrize(("n", "d"), [(1, 1), (3, 5), (7, 2)])
def test_drift_equals_the_slow_loop_and_spares_the_frozen_features(n, d):
    draw = torch.Generator().manual_seed(n)
    prompted = torch.randn(n, d, generator=draw, dtype=FLOAT, requires_grad=True)
    frozen = torch.randn(n, d, generator=draw, dtype=FLOAT, requires_grad=True)
    slow = 0.0
    for p, f in zip(prompted.tolist(), frozen.tolist(), strict=True):
        slow += sum(abs(x / math.hypot(*p) - y / math.hypot(*f)) for x, y in zip(p, f, strict=True)) / (n * d)
    found = drift(prompted, frozen)
    torch.testing.assert_close(found, number(slow))
    found.backward()
    assert frozen.grad is None
    stacked = drift(torch.stack([prompted, -prompted]), torch.stack([frozen, -frozen]))  # rows, however they lie
    torch.testing.assert_close(stacked, found)


@pytest.mark.parametrize("b", [1, 2, 9])
def test_cosent_equals_the_slow_loop(b):
    draw = torch.Generator().manual_seed(b)
    cosines, scores = torch.rand(b, generator=draw, dtype=FLOAT), torch.randint(0, 3, (b,), generator=draw).to(FLOAT)
    wrong = sum(
        math.exp(20 * float(cosines[j] - cosines[i])) for i in range(b) for j in range(b) if scores[i] > scores[j]
    )
    torch.testing.assert_close(cosent(cosines, scores), number(math.log1p(wrong)))


# Another library


def test_cosent_equals_sentence_transformers_with_its_gradient():
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    theirs = CoSENTLoss(nn.Identity())  # pyright: ignore[reportArgumentType]
    first, second = units(13, 6, seed=1, dtype=torch.float32), units(13, 6, seed=2, dtype=torch.float32)
    scores = torch.arange(13.0) % 4
    torch.testing.assert_close(
        gradients(lambda a, b: cosent(F.cosine_similarity(a, b), scores), first, second),
        gradients(lambda a, b: theirs.compute_loss_from_embeddings([a, b], scores), first, second),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("tile", [8, 11, 64])
def test_contrasts_equal_open_clip_with_all_gradients(tile):
    from open_clip.loss import ClipLoss, SigLipLoss

    texts, images = units(37, 9, seed=1), units(37, 9, seed=2)
    scale, bias = number(14.3), number(-6.0)
    torch.testing.assert_close(
        gradients(lambda *x: softmax_contrast(*x, tile=tile), texts, images, scale),
        gradients(lambda t, v, s: ClipLoss()(v, t, s), texts, images, scale),
    )
    torch.testing.assert_close(
        gradients(lambda *x: sigmoid_contrast(*x, tile=tile), texts, images, scale, bias),
        gradients(lambda t, v, s, b: SigLipLoss()(v, t, s, b), texts, images, scale, bias),
    )


# Gradients


@pytest.mark.parametrize("tile", [2, 64])
def test_gradients_equal_finite_differences(tile):
    texts, images, negated = (units(5, 3, seed=seed).requires_grad_() for seed in (1, 2, 3))
    scale, bias = number(3.0).requires_grad_(), number(-1.0).requires_grad_()
    readouts = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(4), dtype=FLOAT, requires_grad=True)

    def check(loss, *tensors):
        assert torch.autograd.gradcheck(loss, tensors)

    check(lambda *x: softmax_contrast(*x, tile=tile), texts, images, scale)
    check(lambda *x: sigmoid_contrast(*x, tile=tile), texts, images, scale, bias)
    check(lambda *x: negation(*x, columns="own", tile=tile), images, texts, negated, scale)
    check(lambda *x: negation(*x, columns="all", tile=tile), images, texts, negated, scale)
    check(lambda *x: negation(*x, columns="hinge", tile=tile), images, texts, negated, scale.detach())
    check(diversity, readouts)
    check(agreement, readouts, torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(5), dtype=FLOAT))


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 20), tile=st.integers(1, 24), seed=st.integers(0, 99), log_scale=st.floats(-3, 6))
def test_tiles_change_nothing(n, tile, seed, log_scale):
    texts, images, negated = (units(n, 3, seed=3 * seed + x) for x in range(3))
    scale, bias = number(math.exp(log_scale)), number(-log_scale)
    for loss, inputs in [
        (softmax_contrast, (texts, images, scale)),
        (sigmoid_contrast, (texts, images, scale, bias)),
        (negation, (images, texts, negated, scale)),
    ]:
        whole = gradients(lambda *x, loss=loss: loss(*x, tile=n), *inputs)
        tiled = gradients(lambda *x, loss=loss: loss(*x, tile=tile), *inputs)
        torch.testing.assert_close(tiled, whole)


# The ends of the number line


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4, 1e30])
def test_extreme_scales_stay_finite(scale, dtype):
    texts, images, negated = (units(9, 4, seed=seed, dtype=torch.float32).to(dtype) for seed in (1, 2, 3))
    scale, bias = number(scale, torch.float32), number(-10.0, torch.float32)
    for found in (
        gradients(softmax_contrast, texts, images, scale),
        gradients(sigmoid_contrast, texts, images, scale, bias),
        gradients(negation, images, texts, negated, scale),
        gradients(lambda *x: negation(*x, columns="all"), images, texts, negated, scale),
    ):
        assert all(tensor.isfinite().all() for tensor in found)


def test_a_solved_batch_keeps_its_small_loss_and_gradient():
    """Own cosine 1, others near 0.8, scale 100: the loss is 1e-5, about one float32 step of the logits."""
    texts = F.normalize(units(8, 16, seed=1) + 0.5, dim=-1)
    exact = gradients(softmax_contrast, texts, texts, number(100.0))
    found = gradients(softmax_contrast, texts.float(), texts.float(), number(100.0, torch.float32))
    assert 1e-6 < exact[0] < 1e-4
    for rough, true in zip(found, exact, strict=True):
        assert (rough - true).abs().max() < 0.02 * true.abs().max()  # plain logsumexp - own: 0.1 to 0.9


def test_half_precision_and_autocast_do_not_touch_the_logits():
    texts, images = units(9, 64, seed=1, dtype=torch.float32), units(9, 64, seed=2, dtype=torch.float32)
    scale = number(50.0, torch.float32)
    expected = gradients(softmax_contrast, texts, images, scale)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(softmax_contrast, texts, images, scale)
        judged = agreement(texts.view(9, 4, 16), images.view(9, 4, 16))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(judged, agreement(texts.view(9, 4, 16), images.view(9, 4, 16)))

    rough = gradients(softmax_contrast, texts.bfloat16(), images.bfloat16(), scale)
    exact = gradients(softmax_contrast, texts.bfloat16().float(), images.bfloat16().float(), scale)
    assert rough[1].dtype == torch.bfloat16
    torch.testing.assert_close(rough[0], exact[0])


def test_diversity_of_equal_orthogonal_and_unmoving_readouts():
    one = torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(0), dtype=FLOAT)
    torch.testing.assert_close(diversity(one.expand(6, 3, 4) + torch.arange(3.0).view(1, 3, 1)), number(1.0))
    apart = torch.zeros(6, 2, 8, dtype=FLOAT)
    apart[:, 0, :4], apart[:, 1, 4:] = one[:, 0], one[:, 0]
    torch.testing.assert_close(diversity(apart), number(0.0))
    value, slope = gradients(diversity, torch.ones(3, 2, 4, dtype=FLOAT))  # centred: nothing is left
    assert value == 0
    assert slope.isfinite().all()


def test_agreement_of_equal_turned_and_unmoving_segments():
    texts, images = units(6, 4, seed=1)[:, None], units(6, 4, seed=2)[:, None]
    torch.testing.assert_close(agreement(texts.expand(6, 3, 4), images.expand(6, 3, 4)), number(1.0))
    turned, _ = torch.linalg.qr(units(4, 4, seed=3))  # other coordinates, the same scores
    both = torch.cat([texts, texts @ turned], dim=1), torch.cat([images, images @ turned], dim=1)
    torch.testing.assert_close(agreement(*both), number(1.0))
    value, *slopes = gradients(agreement, torch.ones(3, 2, 4, dtype=FLOAT), torch.ones(3, 2, 4, dtype=FLOAT))
    assert value == 0
    assert all(slope.isfinite().all() for slope in slopes)


def test_what_cannot_be_is_refused():
    texts, images = units(3, 2), units(3, 2)
    with pytest.raises(ConfigError, match="tile is 0"):
        softmax_contrast(texts, images, number(1.0), tile=0)
    with pytest.raises(ConfigError, match="tile is -4"):
        sigmoid_contrast(texts, images, number(1.0), number(0.0), tile=-4)


# Several processes


def everything(texts, images, negated, readouts, scale, bias):
    """One step's worth of every loss that looks across the batch."""
    return (
        softmax_contrast(texts, images, scale, tile=3)
        + 0.5 * sigmoid_contrast(texts, images, scale, bias, tile=2)
        + 0.3 * negation(images, texts, negated, scale, tile=3)
        + 0.2 * negation(images, texts, negated, scale, columns="all")
        + 0.1 * diversity(readouts)
        + 0.1 * agreement(readouts, images.view_as(readouts))
        + 0.1 * cosent((texts * images).sum(dim=1), (texts[:, 0] > 0).to(texts) - (images[:, 0] > 0).to(texts))
    )


class Student(nn.Module):
    """Both towers and the two numbers, as something DistributedDataParallel can wrap."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.text, self.image = nn.Linear(6, 10, dtype=FLOAT), nn.Linear(5, 10, dtype=FLOAT)
        self.scale, self.bias = nn.Parameter(number(5.0)), nn.Parameter(number(-2.0))

    def forward(self, captions, pictures):
        texts, images = self.text(captions), self.image(pictures)
        negated, readouts = self.text(-captions + 1), texts.view(len(texts), 2, 5)
        texts, images, negated = (F.normalize(x, dim=-1) for x in (texts, images, negated))
        return everything(texts, images, negated, readouts, self.scale, self.bias)


def batch():
    draw = torch.Generator().manual_seed(5)
    return torch.randn(12, 6, generator=draw, dtype=FLOAT), torch.randn(12, 5, generator=draw, dtype=FLOAT)


ACROSS = (
    lambda rows: softmax_contrast(rows, rows, number(1.0)),
    lambda rows: sigmoid_contrast(rows, rows, number(1.0), number(0.0)),
    lambda rows: negation(rows, rows, rows, number(1.0)),
    lambda rows: diversity(rows.view(-1, 2, 2)),
    lambda rows: agreement(rows.view(-1, 2, 2), rows.view(-1, 2, 2)),
    lambda rows: cosent(rows[:, 0], rows[:, 1]),
)
"""Every loss that looks across the batch, on some rows."""


def refusal_of(loss, rows):
    try:
        loss(rows)
    except TrainingError as error:
        return str(error)
    return ""


def one_of_several(rank, sizes, folder):
    """A process's life: for each size of group, its share of the batch through DDP; then shares that do not match."""
    torch.set_num_threads(1)
    from torch.nn.parallel import DistributedDataParallel

    for processes in sizes:
        if rank >= processes:
            continue
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/store{processes}", rank=rank, world_size=processes
        )
        share = slice(rank * 12 // processes, (rank + 1) * 12 // processes)
        model = Student()
        captions, pictures = batch()
        parallel = DistributedDataParallel(model)  # averages while it lives: a temporary would be gone by backward
        loss = parallel(captions[share], pictures[share])
        loss.backward()
        found = {"loss": loss.detach(), "gradients": [p.grad for p in model.parameters()]}
        found["refusals"] = [refusal_of(loss, units(3 if rank else 2, 4)) for loss in ACROSS]
        torch.save(found, f"{folder}/{processes}-{rank}.pt")
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """What 4, then 2 processes found. A fork server loads torch once for all of them."""
    folder = tmp_path_factory.mktemp("gloo")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "polyprompt.nn.losses"])
    workers = [context.Process(target=one_of_several, args=(rank, [4, 2], str(folder))) for rank in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    return {n: [torch.load(folder / f"{n}-{rank}.pt", weights_only=True) for rank in range(n)] for n in (4, 2)}


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_average_to_one_process_with_the_whole_batch(several, processes):
    model = Student()
    loss = model(*batch())
    loss.backward()
    torch.testing.assert_close(sum(one["loss"] for one in several[processes]) / processes, loss.detach())
    for one in several[processes]:
        torch.testing.assert_close(one["gradients"], [p.grad for p in model.parameters()], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("processes", [2, 4])
def test_unequal_shares_are_refused_in_every_process(several, processes):
    for one in several[processes]:
        assert len(one["refusals"]) == len(ACROSS)
        for refusal in one["refusals"]:
            assert "the processes hold 2, 3" in refusal
            assert f"that {processes} divides" in refusal


CASES = [(1, 2), (3, 2), (7, 5)]


def drawn(b: int, c: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(10 * b + c)
    logits = 3 * torch.randn(b, c, generator=draw, dtype=torch.float64)
    labels = torch.randint(c, (b,), generator=draw)
    return logits.requires_grad_(), labels, 0.1 + torch.rand(c, generator=draw, dtype=torch.float64)


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("b", "c"), CASES)
def test_focal_equals_a_slow_loop(b, c, gamma):
    logits, labels, weights = drawn(b, c)
    slow = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = math.exp(row[label]) / sum(math.exp(one) for one in row)
        slow -= float(weights[label]) * (1 - p) ** gamma * math.log(p) / b
    assert losses.focal(logits, labels, weights, gamma).item() == pytest.approx(slow)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
def test_focal_of_two_classes_is_torchvisions(gamma):
    logits, labels, _ = drawn(9, 2)
    weights = torch.tensor([0.7, 0.3], dtype=torch.float64)  # alpha is that of class 1
    ours = losses.focal(logits, labels, weights, gamma)
    theirs = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], labels.double(), 0.3, gamma, reduction="mean")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_slope_where_all_is_right(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = losses.focal(logits, torch.tensor([0, 0]), torch.ones(2), gamma)
    assert gradient(loss, logits).isfinite().all()
    assert loss.item() == pytest.approx(100.0)


@pytest.mark.parametrize(("b", "c"), CASES)
def test_weighted_cross_entropy_equals_a_slow_loop_and_torch(b, c):
    logits, labels, weights = drawn(b, c)
    above, below = 0.0, 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        above += float(weights[label]) * (math.log(sum(math.exp(one) for one in row)) - row[label])
        below += float(weights[label])
    ours = losses.weighted_cross_entropy(logits, labels, weights[labels])
    assert ours.item() == pytest.approx(above / below)
    theirs = F.cross_entropy(logits, labels, weights)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))
    assert losses.weighted_cross_entropy(logits, labels, 0 * weights[labels]) == 0
