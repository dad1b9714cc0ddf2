"""Text files of data sets."""

from pathlib import Path

from polyprompt.disk.files import check_regular
from polyprompt.errors import DataError


def text_in(file: Path) -> str:
    """What a text file says, without the mark that Windows puts in front.

    Raises:
        DataError: missing, unreadable, no regular file, or not UTF-8.
    """
    try:
        check_regular(file)
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
