"""On a GPU: numbers are the processor's, bf16 is near fp32, compiled is plain, two share a batch, memory stays small.

None of it runs without CUDA; what can be known without one, tests/test_devices.py holds.
"""

import multiprocessing

import pytest
import torch
from test_contract import NAMES, SMALL, labels, pictures, step, trainable
from test_devices import TEXTS, aligned, learns_and_predicts, toy_campe
from toy_encoders import FAMILIES, toy_encoder, toy_images

from polyprompt import methods
from polyprompt.adapt.engine import build

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine"),
]
FEW = ("coop", "maple", "tip_adapter", "clip_lora")
CLOSE = {"atol": 2e-3, "rtol": 2e-3}
"""Products are in TF32 or another order on a GPU."""


def on_gpu(name, family="clip"):
    method = build(methods.config_of(name)(**SMALL[name]), toy_encoder(family).to("cuda"), NAMES, seed=1)
    return trainable_there(method)


def trainable_there(method):
    vectors = method.see(pictures(method)).images
    method.adapter.fit(vectors[None], labels(len(vectors)).to("cuda"))
    return method


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", SMALL)
def test_every_method_gives_the_processors_numbers(name, family, tmp_path):
    here = learns_and_predicts(name, family, torch.device("cpu"), tmp_path)
    there = learns_and_predicts(name, family, torch.device("cuda", 0), tmp_path)
    close = {"atol": 1e-2, "rtol": 1e-2} if name == "linear_probe" else CLOSE
    torch.testing.assert_close(there, here, **close)


@pytest.mark.parametrize("trunk", ["cnn", "vit"])
def test_campe_gives_the_processors_numbers(trunk):
    here = aligned(toy_campe("llama", trunk), torch.device("cpu"))
    torch.testing.assert_close(aligned(toy_campe("llama", trunk), torch.device("cuda", 0)), here, **CLOSE)


@pytest.mark.parametrize("name", FEW)
def test_bf16_is_near_fp32(name):
    method = on_gpu(name).eval()
    with torch.no_grad():
        expected = method(pictures(method).cuda())
        with torch.autocast("cuda", torch.bfloat16):
            found = method(pictures(method).cuda())
    cosine = torch.cosine_similarity(found.float(), expected, dim=1)
    assert cosine.min() > 0.999


def test_encoding_in_bf16_is_near_fp32():
    model = toy_campe("llama", "vit").cuda().eval()
    cosine = (model.encode_text(TEXTS) * model.encode_text(TEXTS, precision="bf16")).sum(dim=1)
    assert cosine.min() > 0.999


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.usefixtures("unchecked")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["coop", "maple"])
def test_a_compiled_step_is_the_plain_one(name):
    method = on_gpu(name)
    frozen = method.see(pictures(method).cuda())
    expected = step_there(method, frozen)
    torch.compiler.reset()
    loss = torch.compile(method.losses)(frozen, labels().cuda())["loss"]
    found = loss.detach(), torch.autograd.grad(loss, list(method.learned().values()))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def step_there(method, frozen):
    loss = method.losses(frozen, labels().cuda())["loss"]
    return loss.detach(), torch.autograd.grad(loss, list(method.learned().values()))


def test_a_step_needs_memory_for_its_nodes_and_not_for_all_classes():
    """Twice the classes, in parts of the same size: what the step takes at its peak hardly grows."""
    peaks = []
    for count in (400, 800):
        encoder = toy_encoder("clip").to("cuda")
        names = [f"thing number {number}" for number in range(count)]
        method = build(methods.config_of("coop")(context=3), encoder, names)
        view = method.see(toy_images(size=encoder.image.preprocess.size).cuda())
        method.losses(view, labels().cuda())["loss"].backward()  # what is made once
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        method.losses(view, labels().cuda())["loss"].backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 1.5 * peaks[0]


def one_of_two(rank: int, folder: str) -> None:
    """A process's life, on its own GPU: its half of the batch."""
    from torch.nn.parallel import DistributedDataParallel

    from polyprompt.runs.training import Task

    torch.cuda.set_device(rank)
    torch.distributed.init_process_group("nccl", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    method = trainable_there(build(methods.config_of("maple")(**SMALL["maple"]), toy_encoder("clip").cuda(), NAMES))
    half = slice(3 * rank, 3 * rank + 3)
    view = method.see(pictures(method)[half])
    batch = {"pictures": view.pictures, "labels": labels()[half].cuda()}
    DistributedDataParallel(Task(method))(batch)["loss"].backward()
    torch.save({name: one.grad.cpu() for name, one in method.learned().items()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices on this machine")
def test_two_gpus_give_the_gradients_of_one_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=one_of_two, args=(rank, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
        assert worker.exitcode == 0
    method = trainable(build(methods.config_of("maple")(**SMALL["maple"]), toy_encoder("clip"), NAMES))
    _, gradients = step(method, method.see(pictures(method)))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, dict(zip(method.learned(), gradients, strict=True)), **CLOSE)
