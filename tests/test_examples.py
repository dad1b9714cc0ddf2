"""The notebooks run from the first cell to the last, and what is kept of them is small and whole."""

import os
import sys
from pathlib import Path

import nbformat
import pytest

BOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_outputs(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any(cell.outputs for cell in code)
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert path.stat().st_size < 300_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_notebooks_run(tmp_path, environ):
    """In order and in one folder, since the later ones use what the earlier ones leave."""
    from nbclient import NotebookClient

    environ(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert len(BOOKS) == 4
    for path in BOOKS:
        book = nbformat.read(path, as_version=4)
        NotebookClient(book, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
        outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
        message = "".join(output.get("text", "") for output in outputs)
        assert "Error" not in message
        assert "error:" not in message
