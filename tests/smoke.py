"""What an installed polyprompt does first, for `make dist`: run by the Python that it is installed for, not by pytest.

    build/bare/bin/python -I tests/smoke.py

Everything it needs is made here, in a folder that goes again: pictures of two classes, and a CLIP with random weights.
"""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
PROGRAM = Path(sys.executable).with_name("polyprompt")


def polyprompt(*words: str) -> str:
    """What a command prints; it has to succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"polyprompt {' '.join(words)}\n{done.stderr}"
    return done.stdout


def pictures(folder: Path) -> None:
    """Two classes of plain squares, a few shades each."""
    from PIL import Image

    for name, (red, green, blue) in {"cat": (220, 120, 40), "dog": (60, 60, 160)}.items():
        (folder / name).mkdir(parents=True)
        for shade in range(6):
            Image.new("RGB", (32, 32), (red + shade, green + shade, blue + shade)).save(folder / name / f"{shade}.png")


def clip(file: Path) -> None:
    """A CLIP in OpenAI's layout."""
    import open_clip
    from safetensors.torch import save_file

    vision = {"layers": 2, "width": 64, "head_width": 64, "patch_size": 8, "image_size": 16}
    text = {"layers": 2, "width": 64, "heads": 1}
    state = open_clip.CLIP(32, vision, text, quick_gelu=True).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)


def main() -> None:
    """Raises where something is missing."""
    import polyprompt as pp

    assert Path(pp.__file__).is_relative_to(sys.prefix), f"{pp.__file__} is not the installed one"
    assert pp.__version__ == version("polyprompt")
    for name in ("report/page.html", "serve/page_files/page.js", "data/catalog/splits/README.md"):
        assert files("polyprompt").joinpath(*name.split("/")).is_file(), name
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        os.environ["POLYPROMPT_CACHE"] = str(place / "cache")
        pictures(place / "pets")
        clip(place / "clip.safetensors")
        os.chdir(place)
        polyprompt(
            *("adapt", "pets", "--method", "coop", "--encoder", "clip.safetensors", "--shots", "2"),
            *("--epochs", "1", "--out", "run"),
        )
        assert "cat" in polyprompt("predict", "run", "pets/cat/0.png")
        assert "pets" in polyprompt("search", "run", "a cat", "--images", "pets")
        polyprompt("report", "run", "--out", "report.html")
        assert pp.load("run")(["pets/dog/0.png"]).shape == (1, 2)
    print(f"polyprompt {pp.__version__} works in {sys.prefix}")


if __name__ == "__main__":
    main()
