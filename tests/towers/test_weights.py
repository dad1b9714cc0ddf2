"""A tower read part by part: the same numbers as one read whole, and files that nobody needs stay closed."""

import ctypes
import json
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch
from toy_decoders import FAMILIES, toy_decoder
from transformers import AutoModel, AutoTokenizer

from polyprompt.errors import TowerError
from polyprompt.nn.tree import Branch, grow, sequences
from polyprompt.towers.llm import LLM, open_llm
from polyprompt.towers.weights import Unread

TREE = grow([Branch((20, 30 + k, 21), adaptive=1) for k in range(3)], [])
CAPTIONS = [[5, 6, 7, 8, 9], [12, 13]]
READ = [family for family in FAMILIES if family != "opt"]  # whose blocks AutoModel puts one level deeper

pytestmark = pytest.mark.usefixtures("cache")


def saved(folder: Path, tokenizer, family="llama", dtype=torch.float32, shard="100MB", blocks=3) -> Path:
    """A toy decoder as the hub has it: in shards of a few tensors, where `shard` is small."""
    toy_decoder(family, blocks=blocks).to(dtype).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def states(llm, upto=None):
    batch = sequences(CAPTIONS, TREE)
    hidden, flow = llm.embed(batch.ids, batch.positions, batch.mask)
    return llm.run(hidden, flow, 0, llm.depth if upto is None else upto)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", READ)
def test_what_is_read_in_parts_is_what_is_read_whole(family, dtype, tmp_path, toy_tokenizer):
    folder = str(saved(tmp_path / "llm", toy_tokenizer, family, dtype))
    whole = LLM(AutoModel.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder), family)
    parts, ids = open_llm(folder), torch.tensor([[5, 5, 7]])
    assert all(isinstance(block, Unread) for block in parts.blocks)
    assert parts.fingerprint == whole.fingerprint
    assert torch.equal(parts.token_embeddings(ids), whole.token_embeddings(ids))
    assert torch.equal(states(parts), states(whole))
    assert torch.equal(parts.norm(states(parts)), whole.norm(states(whole)))
    again = open_llm(str(tmp_path / "llm"))  # from the note
    assert again.fingerprint == whole.fingerprint
    assert torch.equal(states(again), states(whole))


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("lies_in", [torch.float32, torch.bfloat16])
def test_bf16_blocks_give_what_autocast_makes_of_fp32_ones(family, lies_in, tmp_path, toy_tokenizer):
    folder = str(saved(tmp_path / "llm", toy_tokenizer, family, lies_in))
    low, full = open_llm(folder, dtype=torch.bfloat16), open_llm(folder)
    found, exact = states(low), states(full)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(states(full), found)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert torch.nn.functional.cosine_similarity(found, exact, dim=-1).min() > 0.999
    assert (open_llm(folder, dtype=None).dtype == torch.bfloat16) == (lies_in == torch.bfloat16)


def test_trained_blocks_are_fp32_and_leave_their_file_alone(tmp_path, toy_tokenizer):
    folder = saved(tmp_path / "llm", toy_tokenizer)
    before = (folder / "model.safetensors").read_bytes()
    llm = open_llm(str(folder), dtype=torch.bfloat16)
    llm.unfreeze(2)
    states(llm)
    kinds = [{p.dtype for p in block.parameters() if p.ndim > 1} for block in llm.blocks]
    assert kinds == [{torch.bfloat16}, {torch.bfloat16}, {torch.float32}]
    with torch.no_grad():
        for parameter in llm.blocks[2].parameters():
            parameter.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before
    assert all(p.requires_grad for p in llm.blocks[2].parameters())
    assert not any(p.requires_grad for block in llm.blocks[:2] for p in block.parameters())


class Opened:
    """Files of a folder that anyone opens, as the system tells it (inotify)."""

    def __init__(self, folder: Path) -> None:
        self.libc = ctypes.CDLL(None)
        self.queue = self.libc.inotify_init1(os.O_NONBLOCK)
        assert self.libc.inotify_add_watch(self.queue, os.fsencode(folder), 0x20) > 0  # IN_OPEN

    def names(self) -> set[str]:
        found = set()
        try:
            events = os.read(self.queue, 1 << 20)
        except BlockingIOError:
            return found
        while events:
            _, _, _, length = struct.unpack_from("iIII", events)
            found.add(events[16 : 16 + length].rstrip(b"\0").decode())
            events = events[16 + length :]
        return found


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux who opens files")
def test_shards_below_the_split_are_never_opened(tmp_path, toy_tokenizer):
    folder = saved(tmp_path / "llm", toy_tokenizer, dtype=torch.bfloat16, shard="12KB", blocks=4)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    first = open_llm(str(folder))
    everything = states(first, 3)
    watch = Opened(folder)
    llm = open_llm(str(folder))
    llm.unfreeze(3)
    batch = sequences(CAPTIONS, TREE)
    flow = llm.flow(batch.positions, batch.mask)
    out = llm.norm(llm.run(everything, flow, 3, 4))
    opened = {name for name in watch.names() if name.endswith(".safetensors")}
    wanted = {shard for name, shard in index.items() if "layers.3." in name or name.endswith("model.norm.weight")}
    wanted |= {shard for name, shard in index.items() if name == "norm.weight"}
    assert opened == wanted
    assert len(opened) < len(set(index.values()))
    assert llm.fingerprint == first.fingerprint
    assert sum(p.numel() for p in llm.parameters()) < sum(p.numel() for p in first.parameters()) / 2
    first.unfreeze(3)
    assert torch.equal(out, first.norm(first.run(everything, flow, 3, 4)))
    states(llm, 1)  # and what is needed later is read then
    assert {shard for name, shard in index.items() if "layers.0." in name} <= watch.names()


def test_the_hash_is_taken_anew_when_a_file_was_touched(tmp_path, toy_tokenizer):
    folder = saved(tmp_path / "llm", toy_tokenizer)
    first = open_llm(str(folder)).fingerprint
    file = folder / "model.safetensors"
    times = file.stat()
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    with file.open("r+b") as open_file:
        open_file.write(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert open_llm(str(folder)).fingerprint != first


@pytest.mark.parametrize("harm", ["{}", "[1]", "cut", "other"])
def test_a_damaged_note_is_made_anew(harm, tmp_path, toy_tokenizer):
    folder = saved(tmp_path / "llm", toy_tokenizer)
    first = open_llm(str(folder)).fingerprint
    (note,) = (tmp_path / "cache" / "towers").iterdir()
    good = note.read_text()
    digit = good.index("layers.0.") + 60
    other = good[:digit] + ("1" if good[digit] == "0" else "0") + good[digit + 1 :]
    note.write_text({"cut": good[:-9], "other": other}.get(harm, harm))
    assert open_llm(str(folder)).fingerprint == first
    assert note.read_text() == good


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path, toy_tokenizer, capsys):
    folder = saved(tmp_path / "llm", toy_tokenizer)
    first = open_llm(str(folder)).fingerprint
    shutil.rmtree(tmp_path / "cache" / "towers")
    (tmp_path / "cache" / "towers").touch()  # as little of a folder as one that may not be written
    capsys.readouterr()
    assert open_llm(str(folder)).fingerprint == first
    assert "towers: cannot be written" in capsys.readouterr().err


def test_files_of_different_models_are_refused(tmp_path, toy_tokenizer):
    folder = saved(tmp_path / "llm", toy_tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(TowerError, match=r"mlp\.\w+\.weight has the shape \[.*the files are of different models"):
        open_llm(str(folder))
    folder = saved(tmp_path / "other", toy_tokenizer)
    llm = open_llm(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(TowerError, match=r"model\.safetensors: cannot be read"):
        states(llm)
