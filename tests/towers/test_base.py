"""Changes handed to towers: where they begin, how they are cut by pictures, what does not fit."""

import pytest
import torch
from toy_encoders import toy_encoder

from polyprompt.errors import ConfigError
from polyprompt.towers.base import INPUT, NO_PLAN, NOTHING, Change, Plan, Rows, check_change, check_depth, refused


def branch(x):
    return x


ROWS = Rows(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("change", "start"),
    [
        (NOTHING, None),
        (Change(input=ROWS), INPUT),
        (Change(prompts={2: ROWS, 1: ROWS}), 1),
        (Change(prompts={2: ROWS}, branches={(1, "mlp"): branch}), 1),
        (Change(input=ROWS, prompts={1: ROWS}, branches={(0, "out"): branch}), INPUT),
    ],
)
def test_a_change_begins_at_its_first_block(change, start):
    assert change.start == change.plan.start == start


def test_a_plan_says_where_without_a_tensor():
    change = Change(input=Rows(torch.zeros(2, 4), (0, 1, 0)), prompts={3: ROWS}, branches={(1, "mlp"): branch})
    assert change.plan == Plan(((INPUT, (0, 1, 0)), (3, None)), frozenset({(1, "mlp")}))
    assert NOTHING.plan == NO_PLAN
    assert change.beside(1) == {"mlp": branch}
    assert change.beside(2) == {}


def test_changes_of_pictures_are_cut_and_join_again():
    """Rows that are the same for all pictures stay whole."""
    own, shared = torch.randn(2, 5, 4), torch.randn(3, 4)
    change = Change(input=Rows(own, (0, 1)), prompts={1: Rows(shared)}, branches={(0, "mlp"): branch})
    assert change.pictures == 5
    parts = change.by_pictures(2)
    assert [part.input.rows.shape[1] for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.input.rows for part in parts], dim=1), own)
    assert all(part.prompts[1].rows is shared and part.input.of == (0, 1) for part in parts)
    assert all(part.branches == change.branches for part in parts)
    alike = Change(input=Rows(shared))
    assert (alike.pictures, alike.by_pictures(1)) == (None, [alike])


def test_rows_may_be_made_from_attention():
    rows = Rows(torch.zeros(2, 4), made=lambda paid: paid[:, :, None].sum(0).expand(2, 4))
    assert torch.equal(rows.given(lambda: torch.ones(3, 2)), torch.full((2, 4), 3.0))
    assert ROWS.given(lambda: pytest.fail("nobody asked for it")) is ROWS.rows
    assert Change(prompts={0: rows}).plan.attention


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (NO_PLAN, ""),
        (Plan(((2, None),), frozenset({(1, "mlp")})), ""),
        (Plan(((3, None),)), "the change reaches block 3, and it has 3, 0 to 2; use less depth"),
        (Plan((), frozenset({(5, "mlp")})), "reaches block 5"),
        (Plan((), frozenset({(0, "key"), (0, "mlp")})), "takes no branch at 'key', only at mlp"),
        (Plan(((0, None),), attention=True), "does not say what attention its blocks pay"),
    ],
)
def test_what_does_not_fit_a_tower_is_said(plan, why):
    found = refused(plan, 3, frozenset({"mlp"}))
    assert why in found
    assert bool(why) == bool(found)
    assert refused(Plan(((0, None),), attention=True), 3, frozenset(), attention=True) == ""


def test_depths_that_a_tower_has_not():
    encoder = toy_encoder("clip")  # three blocks
    check_depth("m", encoder.text, "text", 3)
    for depth, start, message in (
        (4, 0, r"m: depth is 4, but the text tower has 3 blocks; give --set method\.depth=3 or less"),
        (2, 2, r"has 3 blocks, 1 of them from block 2 on; give --set method\.depth=1 or less"),
        (1, 3, "0 of them from block 3 on; give a start of 2 or less"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_depth("m", encoder.text, "text", depth, start)
    with pytest.raises(ConfigError, match="image tower: "):
        check_change(toy_encoder("resnet").image, "image", Plan(((0, None),)))
