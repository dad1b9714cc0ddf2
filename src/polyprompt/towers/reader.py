"""What every text tower of a dual encoder does with words, before it sees them."""

from collections.abc import Sequence

from torch import nn

from polyprompt.errors import DataError
from polyprompt.towers.words import Words


class Reader(nn.Module):
    """Words to rows of token ids, as long as the tower reads."""

    tokenizer: Words
    length: int
    """Tokens in the longest text, start and end included."""

    @property
    def max_tokens(self) -> int:
        """Tokens that a text can have, start and end tokens not counted."""
        return self.length - len(self.tokenizer.start) - len(self.tokenizer.end)

    @property
    def front(self) -> Sequence[int]:
        """Token ids before each text."""
        return self.tokenizer.start

    def words(self, text: str) -> list[int]:
        """Token ids of a text, without start and end tokens."""
        return self.tokenizer.encode(text)

    def framed(self, rows: Sequence[Sequence[int]], *, placed: bool = True) -> list[list[int]]:
        """Texts between start and end tokens; slots count unless they are not `placed`.

        Raises:
            DataError: a text is empty or too long.
        """
        for number, row in enumerate(rows):
            used = len(row) if placed else sum(token >= 0 for token in row)
            if not 0 < used <= self.max_tokens:
                raise DataError(f"text {number} has {used} tokens; this text tower reads 1 to {self.max_tokens}")
        return [[*self.tokenizer.start, *row, *self.tokenizer.end] for row in rows]

    def padded(self, row: list[int], length: int) -> list[int]:
        """A row made as long as the tower reads."""
        return row + [self.tokenizer.pad] * (length - len(row))
