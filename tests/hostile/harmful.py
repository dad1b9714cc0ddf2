"""Files and folders made to harm, and how each is opened.

Whoever opens one runs nothing of it, reaches nowhere, and reads it or says one line. What would run leaves a file `RAN`
behind; what would start a process or a socket is an audit event (tests/outside.py).
"""

import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import open_clip
import timm
import torch
import transformers as hf
from outside import watch
from safetensors.torch import save_file
from timm.models import save_for_hf
from toy_decoders import tokenizer, toy_decoder
from toy_encoders import toy_encoder

from polyprompt.adapt.engine import build
from polyprompt.disk.files import write_manifest
from polyprompt.disk.yaml import read_yaml
from polyprompt.errors import PolypromptError
from polyprompt.media.pictures import open_picture
from polyprompt.methods import config_of
from polyprompt.runs.saved import load_adapter, save
from polyprompt.towers.base import DualEncoder
from polyprompt.towers.llm import open_llm
from polyprompt.towers.timm import open_image_tower
from polyprompt.zoo.load import open_encoder

EVIL = "import pathlib\npathlib.Path(__file__).with_name('RAN').write_text('')\nclass T: pass\nclass Config: pass\n"
BOTH = dict.fromkeys(("AutoConfig", "AutoModel", "AutoImageProcessor", "AutoProcessor"), "evil.T")
MAPS = BOTH | {"AutoTokenizer": ["evil.T", "evil.T"]}
"""What a config says to have classes imported from evil.py."""
FUNCTIONS = [
    "os.system", "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.__import__", "subprocess.Popen",
    "posix.system", "importlib.import_module", "pickle.loads", "torch.load", "torch.hub.load", "runpy.run_path",
    "shutil.rmtree", "webbrowser.open", "code.interact", "builtins.open", "operator.attrgetter", "sys.exit",
    "functools.partial", "types.FunctionType", "torch.jit.load", "torch.classes.load_library", "ctypes.CDLL",
    "numpy.load", "codecs.decode", "socket.create_connection", "asyncio.run", "timeit.timeit",
    "polyprompt.disk.foreign._tensor", "collections.OrderedDict.__class__", "torch.FloatStorage.__class__",
    "builtins.dict.fromkeys", "torch._utils._rebuild_tensor_v2.__globals__",
]  # fmt: skip
"""What a pickle may want to call."""


def calls(name: str, given: str) -> Iterator[tuple[str, bytes]]:
    """Pickles that call a function with one text, by each of the ways that pickle has."""
    module, _, attribute = name.rpartition(".")
    found, text = f"c{module}\n{attribute}\n".encode(), f"V{given}\n".encode()
    short = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attribute)]
    yield "GLOBAL", found + b"(" + text + b"tR."
    yield "STACK_GLOBAL", b"\x80\x04" + b"".join(short) + b"\x93" + text + b"\x85R."
    yield "INST", b"(" + text + f"i{module}\n{attribute}\n.".encode()
    yield "OBJ", b"(" + found + text + b"o."
    yield "NEWOBJ", b"\x80\x02" + found + text + b"\x85\x81."
    yield "NEWOBJ_EX", b"\x80\x04" + found + text + b"\x85}\x92."


def torch_file(
    path: Path, pickled: bytes, compress: int = zipfile.ZIP_STORED, storages: Mapping[str, bytes] | None = None
) -> Path:
    """A file as torch writes them: a pickle, and raw numbers by their names."""
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, raw in (storages or {}).items():
            archive.writestr(f"a/data/{name}", raw)
    return path


def torch_file_before_1_6(path: Path, pickled: bytes) -> Path:
    """The same as torch wrote it before 1.6, with no numbers behind it."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2))
    return path


def spoil(folder: Path, file: str, **values: object) -> None:
    """Other values in a JSON file."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def clip_folder(folder: Path) -> Path:
    """A transformers CLIP with code beside it."""
    torch.manual_seed(0)
    both = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 0}
    text = both | ids | {"vocab_size": 260, "max_position_embeddings": 77}
    image = both | {"image_size": 32, "patch_size": 8}
    hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=image, projection_dim=16)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    (folder / "evil.py").write_text(EVIL)
    return folder


def open_clip_folder(folder: Path) -> Path:
    """open_clip's own folder, with code beside it."""
    folder.mkdir()
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    model = open_clip.model.CLIP(16, vision, text)
    save_file({name: t.contiguous().clone() for name, t in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "T"})
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": MAPS}))
    (folder / "evil.py").write_text(EVIL)
    return folder


OPEN_CLIP_TEXTS = [
    {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
    {"hf_tokenizer_name": "x"},
    {"tokenizer_kwargs": {"trust_remote_code": True}},
    {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"config": {}, "code_revision": "x"}},
    {"hf_model_name": "."},
    {"hf_model_name": ".", "hf_model_pretrained": True, "tokenizer_kwargs": {"trust_remote_code": True}},
    {"layers": 10**9},
]
"""What `text_cfg` may say to have code fetched or run, or no end of blocks made."""


def put_text(folder: Path, more: dict) -> None:
    """Says it in the config of open_clip's folder."""
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] |= more
    path.write_text(json.dumps(config))


def decoder_folder(folder: Path) -> Path:
    """A language model with code beside it."""
    toy_decoder("llama").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "evil.py").write_text(EVIL)
    return folder


def adapter_folder(place: Path) -> tuple[Path, DualEncoder]:
    """A saved adapter whose file names a module beside it, and the encoder to open it with."""
    encoder = toy_encoder("clip")
    save(build(config_of("coop")(context=2), encoder, ["cat", "dog"]), place / "model")
    spoil(place / "model", "adapter_config.json", method="evilpkg.mod")
    write_manifest(place / "model")
    (place / "evilpkg").mkdir()
    (place / "evilpkg" / "mod.py").write_text(EVIL + "from polyprompt.methods.coop import Config\n")
    return place / "model", encoder


REACHING = {
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    b"a=rtpmap:96 H264/90000\n",
    "playlist": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "list of files": b"ffconcat version 1.0\nfile tcp://127.0.0.1:9\n",
    "frames from a pattern": b"http://127.0.0.1:9/%d.png",
}
"""What FFmpeg takes for orders to open something else."""
STARTS = {"mp4": b"\n\n\n\nftypjp2 \n", "webm": b"\x1a\x45\xdf\xa3\n", "avi": b"RIFF\n\n\n\nAVI \n", "gif": b"GIF89a\n",
          "nothing": b""}  # fmt: skip
YAML = [
    '!!python/object/apply:os.system ["touch {}"]',
    'x: !!python/object/new:os.system ["touch {}"]',
    "!!python/name:os.system",
    "!!python/module:os",
    'x: !!python/object/apply:subprocess.Popen [["touch", "{}"]]',
    "!!python/tuple [!!python/name:builtins.exec]",
]
"""Settings that call a function."""


@dataclass(frozen=True)
class Harmful:
    """One of them, and what a user's command does with it."""

    kind: str
    opens: Callable[[], object]


def harmful(place: Path) -> Iterator[Harmful]:
    """All of them, one after the other; an empty folder is filled on the way."""
    yield from _checkpoints(place)
    yield from _models(place)
    path = place / "x.yaml"
    for text in YAML:
        path.write_text(text.format(place / "RAN"))
        yield Harmful("settings that call a function", lambda: read_yaml(path))
    for start in STARTS.values():
        for orders in REACHING.values():
            yield Harmful("videos that name addresses", lambda data=start + orders: open_picture(data))
    folder, encoder = adapter_folder(place)
    yield Harmful("adapters that name a module", lambda: load_adapter(folder, encoder))


def _checkpoints(place: Path) -> Iterator[Harmful]:
    for name in FUNCTIONS:
        for _, code in calls(name, f"touch {place / 'RAN'}"):
            for path in (torch_file(place / "x.pt", code), torch_file_before_1_6(place / "old.pt", code)):
                yield Harmful("checkpoints that call a function", lambda path=path: open_encoder(str(path)))
            for ending in (".pt", ".bin", ".pth.tar"):
                path = place / f"bare{ending}"
                path.write_bytes(code)
                yield Harmful("pickles in a checkpoint's place", lambda path=path: open_encoder(str(path)))


def _models(place: Path) -> Iterator[Harmful]:
    unknown = {"config.json": "model_type", "tokenizer_config.json": "tokenizer_class"}
    for file in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        for more in ({}, {unknown.get(file, "image_processor_type"): "T"}):
            folder = clip_folder(place / f"clip {file} {len(more)}")
            spoil(folder, file, auto_map=MAPS, **more)
            yield Harmful("models with code beside them", lambda folder=folder: open_encoder(str(folder)))
    for number, more in enumerate(OPEN_CLIP_TEXTS):
        folder = open_clip_folder(place / f"open_clip {number}")
        put_text(folder, more)
        yield Harmful("models with code beside them", lambda folder=folder: open_encoder(str(folder)))
    for file, more in (("config.json", {"model_type": "evil"}), ("tokenizer_config.json", {})):
        folder = decoder_folder(place / f"llama {file}")
        spoil(folder, file, auto_map=MAPS, **more)
        yield Harmful("models with code beside them", lambda folder=folder: open_llm(str(folder)))
    folder = place / "timm"
    save_for_hf(timm.create_model("test_vit"), folder, safe_serialization=True)
    (folder / "evil.py").write_text(EVIL)
    spoil(folder, "config.json", architecture="evil.T", auto_map=MAPS)
    yield Harmful("models with code beside them", lambda: open_image_tower(str(folder)))
    for kind, opens in (("clip", open_encoder), ("llama", open_llm)):
        folder = (clip_folder if kind == "clip" else decoder_folder)(place / f"pickled {kind}")
        (folder / "model.safetensors").unlink()
        for name in FUNCTIONS:
            for _, code in calls(name, f"touch {place / 'RAN'}"):
                (folder / "pytorch_model.bin").write_bytes(code)
                yield Harmful("models with pickled weights", lambda folder=folder, opens=opens: opens(str(folder)))


@dataclass
class Opened:
    """How the files of a kind ended."""

    files: int = 0
    read: int = 0
    refused: int = 0
    """In one line."""
    otherwise: int = 0
    """In anything else."""
    ran: int = 0
    """Called something of theirs, or reached out."""


def count_harmful(files: Iterable[Harmful], place: Path) -> dict[str, Opened]:
    """Opens each, with `place` where modules are imported from, and counts by kind."""
    found: dict[str, Opened] = {}
    sys.path.insert(0, str(place))
    try:
        for one in files:
            row = found.setdefault(one.kind, Opened())
            row.files += 1
            with watch(set()) as seen:
                ended = _ended(one.opens)
            setattr(row, ended, getattr(row, ended) + 1)
            left = [*place.rglob("RAN")]
            row.ran += bool(left or seen.events)
            for path in left:
                path.unlink()
    finally:
        sys.path.remove(str(place))
    return found


def _ended(opens: Callable[[], object]) -> str:
    try:
        opens()
    except PolypromptError as error:
        return "otherwise" if "\n" in str(error) else "refused"
    except BaseException:
        return "otherwise"
    return "read"
