"""Many clients at once, and whatever a program makes of the OpenAPI: right answers, flat memory, no 5xx."""

import asyncio
import gc
import os
import random
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from asking import listening
from toy_server import uri

from polyprompt.serve.app import make_app

pytestmark = [pytest.mark.slow, pytest.mark.outside("socket")]
CLIENTS, SECONDS, REQUESTS = 32, 60, 5_000
HERE = {"host": "localhost"}
IDS = {"model": "toy", "collection": "photos"}
WORDS = ["red", "green", "blue", "white", "square", "zebra", "small", "large", "light", "dark"]


def resident():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(300)
def test_32_clients_for_a_minute_get_their_own_answers(service, photos):
    texts = [f"{one} {other}" for one in WORDS for other in WORDS]
    rows = service.models["toy"].embedder.texts(texts)
    vectors = service.collections["photos"].collection.vectors.take(np.arange(12))
    picture = uri(photos / "red-0.png")
    like = vectors[service.collections["photos"].collection.items.where("name = 'red-0.png'")[0]]
    done = [0] * CLIENTS
    memory = []

    async def one(number, client, until):
        draw = random.Random(number)
        while time.monotonic() < until:
            at = draw.randrange(len(texts))
            if draw.random() < 0.5:
                answer = await client.post("/v1/embeddings", json={"model": "toy", "input": [texts[at], picture]})
                found = torch.tensor([item["embedding"] for item in answer.json()["data"]])
                torch.testing.assert_close(found, torch.stack([rows[at], like]), rtol=2e-3, atol=2e-3)
            else:
                answer = await client.post("/search", json={"collection": "photos", "text": texts[at], "top": 1})
                score = answer.json()["data"][0]["score"]
                assert abs(score - float((vectors @ rows[at]).max())) < 1e-4
            done[number] += 1
            if draw.random() < 0.02:  # some go before they are answered
                gone = asyncio.ensure_future(client.post("/v1/embeddings", json={"model": "toy", "input": texts}))
                await asyncio.sleep(0.01)
                gone.cancel()

    async def watched(until):
        while time.monotonic() < until:
            await asyncio.sleep(SECONDS / 12)
            gc.collect()
            memory.append(resident())

    async def run(address):
        until = time.monotonic() + SECONDS
        limits = httpx.Limits(max_connections=2 * CLIENTS)
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
            await asyncio.gather(watched(until), *(one(number, client, until) for number in range(CLIENTS)))

    with listening(make_app(service)) as address:
        asyncio.run(run(address))
    print(f"{sum(done):,} answers in {SECONDS} s; MiB in memory: {[round(size / 2**20) for size in memory]}")
    assert min(done) > 10
    half = memory[len(memory) // 3]
    assert memory[-1] < half + 30 * 2**20


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
def test_whatever_is_asked_no_answer_is_a_5xx(service):
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, seed, settings

    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(service), headers=HERE)
    operations = [one.ok() for one in schema.get_all_operations()]
    seen = []

    def ask(case):
        if len(seen) % 4:  # what is really there, so that more than names is looked at
            case.path_parameters |= {name: "photos" for name in case.path_parameters if name == "id"}
            if isinstance(case.body, dict):
                case.body |= {name: id for name, id in IDS.items() if name in case.body}
        answer = case.call(headers=HERE)
        seen.append(answer.status_code)
        assert answer.status_code < 500, (case, answer.content[:500])
        assert b"/tmp" not in answer.content

    how = settings(
        max_examples=100, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    for turn in range(REQUESTS):
        if len(seen) >= REQUESTS:
            break
        for operation in operations:
            seed(turn)(how(given(case=operation.as_strategy())(ask)))()
    print(f"{len(seen):,} requests: {dict(Counter(seen))}")
    assert len(seen) >= REQUESTS
    assert seen.count(200) > REQUESTS // 20
