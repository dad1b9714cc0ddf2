"""Rows that processes hold together: one process alone, and two real ones that talk over gloo."""

import pytest
import torch

from polyprompt.errors import TrainingError
from polyprompt.nn.processes import check_shares, first_row, gathered, place, summed, total

ROWS = torch.arange(12, dtype=torch.float64).view(4, 3).square()
"""Of both processes together; each holds half of them."""


def test_a_process_alone_is_the_first_of_one():
    rows = ROWS.clone().requires_grad_()
    assert place() == (0, 1)
    assert first_row(rows) == 0
    assert gathered(rows) is rows
    assert summed(rows) is rows
    check_shares(rows)
    total(rows).square().sum().backward()
    torch.testing.assert_close(rows.grad, 2 * ROWS)


def one_of_two(folder) -> None:
    """A process's life; what it found goes to a file."""
    torch.distributed.init_process_group("gloo")
    rank, count = place()
    mine = ROWS[2 * rank : 2 * rank + 2].clone().requires_grad_()
    weights = torch.tensor([1.0, 10.0])[rank] * torch.ones(2, 3, dtype=torch.float64)
    (weights * total(mine).square()).sum().backward()
    before = mine.detach().clone()
    kept = before.clone()
    refusal = ""
    try:
        check_shares(ROWS[: 2 + rank])
    except TrainingError as error:
        refusal = str(error)
    check_shares(mine)
    found = {
        "place": torch.tensor([rank, count]), "first": torch.tensor(first_row(mine)), "gathered": gathered(mine),
        "turned": gathered(before.T), "sum": summed(kept), "over": kept, "gradient": mine.grad,
    }  # fmt: skip
    torch.save(found | {"refusal": refusal}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory, run_processes):
    folder = tmp_path_factory.mktemp("two")
    assert run_processes(one_of_two, 2, folder=folder) == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_know_their_places_and_rows(two):
    for rank, one in enumerate(two):
        assert one["place"].tolist() == [rank, 2]
        assert one["first"] == 2 * rank
        assert torch.equal(one["gathered"], ROWS)
        assert not one["gathered"].requires_grad
        assert torch.equal(one["turned"], torch.cat([ROWS[:2].T, ROWS[2:].T]))  # rows need not lie in one piece


def test_a_sum_is_that_of_both_and_written_over_the_rows(two):
    for one in two:
        assert torch.equal(one["sum"], ROWS[:2] + ROWS[2:])
        assert torch.equal(one["over"], one["sum"])


def test_a_total_gets_the_gradients_of_what_both_make_of_it(two):
    """Of 1 total^2 here and 10 total^2 there: 22 total, in both."""
    for one in two:
        torch.testing.assert_close(one["gradient"], 22 * (ROWS[:2] + ROWS[2:]))


def test_unequal_shares_are_refused_in_both(two):
    for one in two:
        assert one["refusal"].startswith("the processes hold 2, 3 rows of one batch")
        assert "a batch size that 2 divides" in one["refusal"]
