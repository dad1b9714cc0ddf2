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
    def room(self) -> int:
        """Tokens that a text can have, start and end tokens not counted."""
        return self.length - len(self.tokenizer.start) - len(self.tokenizer.end)

    def words(self, text: str) -> list[int]:
        """Token ids of a text, without start and end tokens."""
        return self.tokenizer.encode(text)

    def framed(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Texts between start and end tokens.

        Raises:
            DataError: a text is too long.
        """
        for number, row in enumerate(rows):
            if len(row) > self.room:
                raise DataError(f"text {number} has {len(row)} tokens; this text tower reads at most {self.room}")
        return [[*self.tokenizer.start, *row, *self.tokenizer.end] for row in rows]

    def padded(self, rows: Sequence[list[int]]) -> list[list[int]]:
        """Rows made as long as the tower's longest text."""
        return [row + [self.tokenizer.pad] * (self.length - len(row)) for row in rows]
