"""Numbers as they are printed."""


def printed(value: float | None, form: str) -> str:
    """The value in Python's format `form`, with a true minus sign; a dash where there is none."""
    return "\N{EN DASH}" if value is None else format(value, form).replace("-", "\N{MINUS SIGN}")
