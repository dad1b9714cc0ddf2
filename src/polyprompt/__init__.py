"""Prompt learning for vision-language models: CAMPE, MaPLe and their families."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyprompt.campe.model import CAMPE, load

__version__ = "0.1.0"
__all__ = ["CAMPE", "load"]


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from polyprompt.campe import model

    return getattr(model, name)
