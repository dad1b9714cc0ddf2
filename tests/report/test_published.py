"""Published rows beside a grid's own."""

from toy_grid import result

from polyprompt.report.averages import grids
from polyprompt.report.grid import shown


def test_published_rows_stand_beside_ours_and_differ_only_where_all_agree():
    def of(encoder, pictures):
        found = result(
            "maple", "eurosat", 1, {"base": 0.95, "novel": 0.70}, protocol="base-to-novel", shots=16, encoder=encoder
        )
        for part, count in zip(("base", "novel"), pictures, strict=True):
            found.figures["classification"][part]["pictures"] = count
        (grid,) = grids([found])
        table = shown(grid)
        nothing = any("Nothing is subtracted" in note for note in table.notes)
        assert nothing == ("maple, ours less published" not in dict(table.rows))
        return dict(table.rows)

    ours = of("ViT-B-16/openai", (4200, 3900))
    assert ours["maple, published"][:2] == ["94.07", "73.23"]
    assert ours["maple, ours less published"][:2] == ["+0.93", "\N{MINUS SIGN}3.23"]
    assert "maple, ours less published" not in of("toy", (4200, 3900))
    assert "maple, ours less published" not in of("ViT-B-16/openai", (10, 10))


def test_nothing_published_stands_beside_another_source():
    """What was trained on Caltech101 is no row of ImageNet's table."""
    for source, there in (("imagenet", True), ("caltech101", False)):
        figures = {"test": 0.7, "eurosat@/data": 0.5}
        (grid,) = grids([result("maple", source, 1, figures, protocol="cross-dataset", shots=16)])
        assert ("maple, published" in dict(shown(grid).rows)) == there
