"""A grid's report as a page, and by the command."""

import pytest

from polyprompt.cli.main import run as main
from polyprompt.errors import FileError
from polyprompt.report.grid_page import write_report


def test_the_page_and_the_command(grid_folder, capsys, typed, cd):
    cd(grid_folder)
    typed("report", grid_folder)
    assert main() == 0
    assert "| maple |" in capsys.readouterr().out
    (grid_folder / "report.html").rename(grid_folder / "page.html")
    for name in ("table.tex", "page.html"):  # the second one is there already, and replaced
        typed("report", grid_folder, "--out", grid_folder / name)
        assert main() == 0
        assert capsys.readouterr().out == f"Open {grid_folder / name}\n"
    page = (grid_folder / "page.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for words in ("Against zero-shot", "most often taken for dog", "Confusion of maple", "maple less zero-shot"):
        assert words in page


def test_a_folder_that_is_no_grid(tmp_path):
    with pytest.raises(FileError, match="not the folder of a grid"):
        write_report(tmp_path, tmp_path / "page.html")


def test_names_of_rows_stay_in_sight_beside_wide_tables(grid_folder, tmp_path):
    """The averages stand last; a long name leaves room for figures on a telephone."""
    write_report(grid_folder, tmp_path / "all.html")
    page = (tmp_path / "all.html").read_text()
    assert ".wide th:first-child { position: sticky; left: 0;" in page
    assert "tbody th { min-width: 7rem; overflow-wrap: anywhere; }" in page
