"""Numbers as they are printed."""


def printed(value: float | int | None, form: str) -> str:
    """The value in Python's format `form`, with a true minus sign; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    text = format(value, form)
    if not any(digit in "123456789" for digit in text):  # a tiny negative number is printed as 0, not as -0
        text = text.replace("-", "+" if "+" in form else "")
    return text.replace("-", "\N{MINUS SIGN}")
