"""Both towers of a run of `align` as ONNX files, for any runtime and without this library.

    text.onnx        input_ids, attention_mask [b, n] -> vectors [b, D]: a caption through the LLM and the prompt tree
    image.onnx       pixels [b, 3, size, size] -> vectors [b, D]
    tokenizer.json   for the package tokenizers; its special tokens are to be read as text
    towers.json      front (ids before every caption), max_tokens, preprocess, prompts, dim
    manifest.json    the hashes of all

Vectors are unit rows, computed in fp32. Numbers of captions, tokens and pictures are free. Padding is at the end of a
caption and 0 in the mask; what is in `input_ids` there does not matter. `examples/search_with_onnx.py` uses them.
"""

import copy
from pathlib import Path

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn

from polyprompt.campe.image import ImageSide
from polyprompt.campe.model import CAMPE
from polyprompt.campe.text import TextSide, join
from polyprompt.disk.files import check_new, whole_folder, write_bytes, write_json, write_text
from polyprompt.nn.tree import Sequences
from polyprompt.progress import step
from polyprompt.skins.onnx import BATCH_AXIS, check_onnx, check_size, translated
from polyprompt.types import Hidden, Pixels, Tokens

TOKENS_AXIS = "tokens"


class TextVectors(nn.Module):
    """The text side as one function of tensors: what nn/tree.py lays out in Python is computed from the mask here.

    Args:
        side: all of its blocks in memory.
    """

    def __init__(self, side: TextSide) -> None:
        super().__init__()
        tree = side.tree.positive()
        self.side = side
        self.adaptive = list(tree.adaptive)
        self.readouts = list(tree.readouts) if side.reads_the_tree else None
        sees = tree.sees()
        self.register_buffer("ids", torch.tensor(tree.ids, dtype=torch.long))
        self.register_buffer("sees", sees)
        self.register_buffer("depth", sees.sum(dim=1))
        self.ids: Tensor
        self.sees: Tensor
        self.depth: Tensor

    def forward(self, input_ids: Tokens, attention_mask: Tokens) -> Float[Tensor, "b D"]:
        """Unit rows of texts; the mask is 1 where a token is and 0 behind the end."""
        side, width, lengths = self.side, input_ids.shape[1], attention_mask.sum(dim=1)
        batch = self._laid_out(input_ids * attention_mask, lengths)
        hidden, flow = side.llm.embed(batch.ids, batch.positions, batch.mask, self._embeddings(batch))
        hidden = side.llm.run(hidden, flow, 0, side.split)
        if side.adaptive == "late" and self.adaptive:
            hidden = torch.cat([hidden[:, :width], hidden[:, width:] + self._at_adaptive()], dim=1)
        hidden = side.llm.run(hidden, flow, side.split, side.llm.depth)
        return join(side.read(self._read_out(hidden, batch), batch).segments)

    def _laid_out(self, ids: Tokens, lengths: Int[Tensor, "b"]) -> Sequences:
        """As `sequences` in nn/tree.py."""
        b, n, s = ids.shape[0], ids.shape[1], self.ids.shape[0]
        places = torch.arange(n, device=ids.device)
        real = places < lengths[:, None]
        causal = (places[:, None] >= places) & real[:, None, :] & real[:, :, None]
        caption = causal | (places[:, None] == places)
        above = torch.cat([caption, caption.new_zeros(b, n, s)], dim=2)
        below = torch.cat([real[:, None, :].expand(b, s, n), self.sees.expand(b, s, s)], dim=2)
        positions = torch.cat([places.expand(b, n), lengths[:, None] + self.depth - 1], dim=1)
        whole = torch.cat([ids, self.ids.expand(b, s)], dim=1)
        return Sequences(whole, positions, torch.cat([above, below], dim=1), lengths, n)

    def _embeddings(self, batch: Sequences) -> Hidden | None:
        """Rows of the input table with learned ones in the tree; None: the table's own."""
        if self.side.adaptive_above:
            return None
        rows, width = self.side.llm.token_embeddings(batch.ids), batch.width
        kept = torch.ones(len(self.ids), 1)
        kept[self.adaptive] = 0
        return torch.cat([rows[:, :width], rows[:, width:] * kept + self._at_adaptive()], dim=1)

    def _at_adaptive(self) -> Float[Tensor, "s d"]:
        """The learned vectors in their nodes, zeros elsewhere."""
        vectors = self.side.vectors
        rows = vectors.new_zeros(len(self.ids), vectors.shape[1])
        rows[self.adaptive] = vectors
        return rows

    def _read_out(self, hidden: Hidden, batch: Sequences) -> Float[Tensor, "b r d"]:
        """The states that are read."""
        if self.readouts is not None:
            return hidden[:, batch.width :][:, self.readouts]
        if self.side.readout == "mean":
            return hidden[:, : batch.width]
        last = (batch.lengths - 1)[:, None, None].expand(-1, 1, hidden.shape[2])
        return hidden.gather(1, last)


class ImageVectors(nn.Module):
    """The image side's unit rows."""

    def __init__(self, side: ImageSide) -> None:
        super().__init__()
        self.side = side

    def forward(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """Unit rows of preprocessed pictures."""
        return join(self.side(pixels)[0])


def export_towers(model: CAMPE, folder: str | Path) -> None:
    """Writes both towers and what is needed beside them into a new folder, whole or not at all.

    Raises:
        ConfigError: ONNX is not installed. FileError: the folder exists, cannot be written, or a tower is larger than
            ONNX allows.
    """
    check_onnx()
    check_new(folder)
    copied = copy.deepcopy(model).cpu().eval()
    copied.text.llm.unfreeze(0)  # reads every block, in fp32
    copied.requires_grad_(False)
    front = copied.text.llm.front()
    ids = torch.tensor([[*front, 5, 6], [*front, 7, 8]])
    text, image = TextVectors(copied.text).eval(), ImageVectors(copied.image).eval()
    with torch.no_grad():
        text(ids, torch.ones_like(ids))  # reads the input table
    towers = {"text.onnx": text, "image.onnx": image}
    for name, tower in towers.items():
        check_size(tower, Path(folder) / name)
    free = {0: torch.export.Dim(BATCH_AXIS)}
    size = copied.preprocess.size
    with whole_folder(folder) as temporary:
        with step("Writing text.onnx, a minute or more"):
            words = translated(
                text, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ["vectors"],
                free | {1: torch.export.Dim(TOKENS_AXIS)}, strict=False,
            )  # fmt: skip
            write_bytes(temporary / "text.onnx", words.model_proto.SerializeToString())
        with step("Writing image.onnx, some seconds more"):
            pictures = translated(image, {"pixels": torch.zeros(2, 3, size, size)}, ["vectors"], free, strict=True)
            write_bytes(temporary / "image.onnx", pictures.model_proto.SerializeToString())
        # the tokenizer's own save knows UTF-8 names only
        write_text(temporary / "tokenizer.json", _tokenizer(copied).to_str(pretty=True))
        write_json(
            temporary / "towers.json",
            {
                "format": "polyprompt-towers-1",
                "dim": copied.settings.dim,
                "prompts": list(copied.prompts),
                "front": front,
                "max_tokens": copied.settings.text.max_tokens,
                "preprocess": copied.preprocess.to_json(),
            },
        )


def _tokenizer(model: CAMPE) -> Tokenizer:
    """Without what the last call left in it."""
    words = Tokenizer.from_str(model.text.llm.tokenizer.backend_tokenizer.to_str())
    words.no_padding()
    words.no_truncation()
    return words
