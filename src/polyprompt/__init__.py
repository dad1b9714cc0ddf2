"""Prompt learning for vision-language models: CAMPE, MaPLe and their families."""

__version__ = "0.1.0"
