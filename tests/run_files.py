"""What lies in a run's folder, read to be compared."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file


def log_of(run: Path) -> list[dict]:
    """The lines of its log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def learned(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of its model: an aligned one's, or an adapter's."""
    (file,) = (run / "model").glob("*model.safetensors")
    return load_file(file)


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether they are the same tensors, to the last bit."""
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def content(folder: Path) -> dict[Path, tuple[int, bytes | bool]]:
    """Everything in a folder with the time it was last written, to see that nothing was touched."""
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def as_of_version(result: Path, version: int) -> Path:
    """A grid's result as another figures version would have left it; its new place, for the name says the version."""
    content = json.loads(result.read_text(encoding="utf-8")) | {"figures_version": version}
    other = result.rename(result.with_name("0" * 32 + ".json"))
    other.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return other


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """While a folder is not there."""
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    try:
        yield
    finally:
        elsewhere.rename(folder)
