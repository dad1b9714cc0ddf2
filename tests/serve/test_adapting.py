"""Marks on a few pictures become a better query."""

import numpy as np
import pytest
from asking import close, search


@pytest.mark.parametrize("service", ["clip", "campe"], indirect=True)
def test_marks_move_the_query_towards_right_and_away_from_wrong(client, service):
    rows = {hit["name"]: hit["row"] for hit in search(client)}
    right = [row for name, row in rows.items() if name.startswith("green")]
    wrong = [row for name, row in rows.items() if name.startswith(("red", "white"))]
    marks = {"text": "zebra", "right": right[:2], "wrong": wrong}
    learned = client.post("/collections/photos/adapt", json=marks)
    assert learned.status_code == 200, learned.text
    hits = search(client, adapted=learned.json()["id"], top=12)
    vectors = service.collections["photos"].collection.vectors.take(np.arange(12))
    good, bad = vectors[right[:2]].mean(dim=0), vectors[wrong].mean(dim=0)
    query = service.models["toy"].embedder.texts(["zebra"])[0] + 0.5 * good / good.norm() - 0.25 * bad / bad.norm()
    close([hit["score"] for hit in hits], (vectors @ query / query.norm())[[hit["row"] for hit in hits]])
    before = [hit["row"] for hit in search(client, text="zebra", top=12)]
    after = [hit["row"] for hit in hits]
    gain = [before.index(row) - after.index(row) for row in right]
    assert sum(gain) >= 0
    assert max(after.index(row) for row in right[:2]) < 6
