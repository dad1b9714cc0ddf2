"""The cost that a command tells."""

import pytest


def test_cost_gives_the_papers_figures(polyprompt):
    code, out, err = polyprompt(
        "cost", "--text-tower", "gemma-2b", "--image-tower", "vit_base_patch16_224", "--dim", 768
    )
    assert code == 0, err
    nothing, captions = (float(line.split()[1]) for line in out.splitlines()[1:3])
    assert nothing == pytest.approx(144.2, rel=0.03)
    assert captions == pytest.approx(24.8, rel=0.03)
