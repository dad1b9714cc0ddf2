"""Dynamic batching: 32 clients at once against the same requests one by one, through a model's own queue.

python benchmarks/serve.py            a toy tower of the tests' size
python benchmarks/serve.py --run RUN  a run of align, SmolLM2 say
"""

import argparse
import asyncio
import sys
import threading
from pathlib import Path

import torch
from measure import in_turn, write

from polyprompt.nn.memory import keep_memory
from polyprompt.search.models import AlignedEmbedder, Embedder, open_model
from polyprompt.serve import served
from polyprompt.serve.batching import Batcher

CLIENTS, REQUESTS, ROUNDS = 32, 20, 5


def texts(client: int, count: int) -> list[str]:
    return [f"a photo of two dogs and {client * count + number} cats on a beach" for number in range(count)]


def asked_by_all(batcher: Batcher[str, torch.Tensor], count: int) -> None:
    async def client(number: int) -> None:
        for text in texts(number, count):
            await batcher([text])

    async def run() -> None:
        await asyncio.gather(*map(client, range(CLIENTS)))

    asyncio.run(run())


def measured(model: Embedder, count: int, rounds: int) -> dict:
    lock = threading.Lock()
    together, single = (Batcher(lambda some: model.texts(some).unbind(), most, lock) for most in (served.TEXTS, 1))
    asked_by_all(together, 1)
    asked_by_all(single, 1)
    found = in_turn(lambda: asked_by_all(together, count), lambda: asked_by_all(single, count), rounds)
    sizes = list(together.sizes)
    for batcher in (together, single):
        batcher.close()
    each = {side: CLIENTS * count / sorted(found["seconds"][side])[rounds // 2] for side in ("ours", "theirs")}
    return found | {"requests_per_second": each, "mean_batch": sum(sizes) / len(sizes)}


def toy() -> Embedder:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from toy_encoders import toy_model  # pyright: ignore[reportMissingImports]

    return AlignedEmbedder(toy_model(), "toy")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--run", help="A run of align; a toy tower if not given.")
    words.add_argument("--requests", type=int, default=REQUESTS, help="Of each client.")
    words.add_argument("--rounds", type=int, default=ROUNDS)
    given = words.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    model = open_model(given.run) if given.run else toy()
    result = measured(model, given.requests, given.rounds)
    what = "a run's tower, for comparison" if given.run else "a toy tower: >= 3 times"
    claim = f"{CLIENTS} clients answered together against one by one, {what}"
    write("serve-run" if given.run else "serve", {"claim": claim, "clients": CLIENTS, **result})
    print(f"{result['ratio']:.1f} x")


if __name__ == "__main__":
    main()
