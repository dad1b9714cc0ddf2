"""CAMPE whole: texts and pictures to unit vectors of K segments; saved as what it learned and the names of the rest."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, get_args

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from polyprompt.campe.config import ModelSettings, TowerDtype
from polyprompt.campe.image import ImageSide
from polyprompt.campe.text import Learns, TextSide, end_token, join, prompt_tree, token_row
from polyprompt.disk.files import check_manifest, read_json, whole_folder, write_json, write_text
from polyprompt.disk.tensors import read_tensors
from polyprompt.errors import ConfigError, FileError, TowerError, UnknownNameError
from polyprompt.inputs import Frames, Picture, checked_pixels, list_of_pictures, list_of_texts
from polyprompt.media.ahead import made_ahead
from polyprompt.media.frames import open_frames, over_frames
from polyprompt.media.pictures import Preprocess, together
from polyprompt.nn.finite import check_finite
from polyprompt.nn.memory import kept_memory
from polyprompt.nn.precision import Choosing, choose_precision, of_pictures, products_in
from polyprompt.nn.tree import PromptTree, sequences
from polyprompt.progress import say
from polyprompt.settings import checked
from polyprompt.towers.llm import LLM, open_llm
from polyprompt.towers.timm import TimmTower, open_image_tower
from polyprompt.types import Pixels

Pictures: TypeAlias = Picture | Iterable[Picture | Frames] | Float[Tensor, "*i 3 height width"]
"""Paths, PIL pictures, lists of PIL pictures that are the frames of one video each; or preprocessed pixels."""
BATCH = 64
"""Texts encoded together."""
TENSORS = "model.safetensors"
FILES = ("config.json", TENSORS)
MOVED = "--text-tower or --image-tower, text_tower= or image_tower= in Python"


class CAMPE(nn.Module):
    """A decoder LLM and an image tower in one space, `settings.dim` numbers wide, in K segments."""

    def __init__(self, settings: ModelSettings, llm: LLM, tower: TimmTower) -> None:
        super().__init__()
        text = settings.text
        self.settings = settings
        self.text = TextSide(
            llm,
            _tree(settings, llm),
            readout=text.readout,
            dim=settings.dim,
            learns=Learns(text.last_n, text.lora),
            adaptive=text.adaptive,
            shared_map=text.shared_map,
            fitted_norm=text.norm == "fitted" and not llm.fresh,
        )
        image = settings.image
        self.image = ImageSide(
            tower,
            queries=image.queries or self.text.num_segments,
            dim=settings.dim,
            new_blocks=image.new_blocks,
            width=image.width,
        )
        sigmoid = settings.loss.contrast == "sigmoid"
        self.logit_scale = nn.Parameter(torch.tensor(math.log(settings.loss.scale)))
        self.bias = nn.Parameter(torch.tensor(settings.loss.bias or 0.0), requires_grad=sigmoid)

    @property
    def prompts(self) -> tuple[str, ...]:
        """What each segment is asked, readable."""
        text = self.settings.text
        if text.readout != "prompts":
            return (text.readout,)
        return tuple(text.template.replace("{}", word) for word in text.adaptive_words())

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The factor on cosines, exp(logit_scale), at most 100 as in CLIP."""
        return self.logit_scale.exp().clamp(max=100)

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes pixels."""
        return self.image.tower.preprocess

    @torch.no_grad()
    def encode_text(
        self, texts: str | Iterable[str], *, normalize: bool = True, precision: Choosing = "fp32"
    ) -> Float[Tensor, "t D"]:
        """Unit rows, one a text; without `normalize` the K segments as they come out of the maps.

        Texts that are longer than the model reads (`text.max_tokens`) are cut, which is said.

        `precision` is that of products; "auto" takes bf16 where it is much faster, the cosine to fp32's rows is 0.999.

        Raises:
            DataError: no text, or an empty one.
        """
        texts = list_of_texts(texts)
        ids, cut = self.text.llm.tokens(texts, most := self.settings.text.max_tokens)
        if cut:
            which = f"the text {texts[0]!r:.60} is" if len(texts) == 1 else f"{cut:,} of {len(texts):,} texts are"
            say(f"{which} longer than the {most} tokens that the model reads; the rest was cut off.")
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # texts of a length together: little padding
        tree, out = self.text.tree.positive(), torch.empty(len(ids), self.settings.dim, device=self.bias.device)
        with products_in(precision, out.device):
            for at in range(0, len(order), BATCH):
                part = order[at : at + BATCH]
                segments = self.text(sequences([ids[i] for i in part], tree)).segments.float()
                out[part] = join(segments) if normalize else segments.flatten(1)
        return out

    @kept_memory()
    @torch.no_grad()
    def encode_image(
        self, images: Pictures, *, normalize: bool = True, precision: Choosing = "fp32"
    ) -> Float[Tensor, "i D"]:
        """Unit rows, one a picture or video: paths, PIL pictures, frames, or preprocessed pixels.

        A video's row is the mean of its frames' unit rows (media/frames.py). Without `normalize` a row is as it comes
        out of that mean, or of a picture's maps. `precision` as in `encode_text`.

        Raises:
            DataError: no picture, or something that is none. ImageError: a picture that cannot be read.
        """
        frames: list[int] = []
        with products_in(of_pictures(self.image, precision), self.bias.device):
            rows = torch.cat([self.image(pixels)[0].flatten(1).float() for pixels in self._batches(images, frames)])
        if normalize:
            return over_frames(F.normalize(rows, dim=-1), frames or [1] * len(rows))
        parts = rows.split(frames or 1)
        return torch.cat(
            [part if len(part) == 1 else F.normalize(part, dim=-1).mean(0, keepdim=True) for part in parts]
        )

    @torch.no_grad()
    def attention(self, images: Pictures) -> Float[Tensor, "i k rows columns"]:
        """Where each segment looks: maps that sum to 1; of a video the mean over its frames."""
        frames: list[int] = []
        maps = torch.cat([self.image(pixels)[1] for pixels in self._batches(images, frames)])
        if len(frames) < len(maps) and frames:
            maps = torch.stack([part.mean(dim=0) for part in maps.split(frames)])
        return maps.unflatten(-1, self.image.grid)

    def similarity(
        self, texts: str | Iterable[str], images: Pictures, aspect_weights: Sequence[float] | None = None
    ) -> Float[Tensor, "t i"]:
        """sum_k w_k <t_k, v_k> over segments of the two normalised embeddings; without weights the cosine."""
        return self.weighted(self.encode_text(texts), aspect_weights) @ self.encode_image(images).T

    def weighted(self, texts: Float[Tensor, "t D"], aspect_weights: Sequence[float] | None) -> Float[Tensor, "t D"]:
        """Queries with their segments scaled, not normalised again: any vector index then gives weighted scores.

        Raises:
            ConfigError: not one finite weight for each prompt.
        """
        if aspect_weights is None:
            return texts
        k = self.text.num_segments
        if len(aspect_weights) != k:
            names = ", ".join(self.prompts)
            raise ConfigError(f"{len(aspect_weights)} aspect weights for {k} prompts; give one for each of: {names}.")
        weights = texts.new_tensor(aspect_weights)
        if not weights.isfinite().all():
            raise ConfigError(f"aspect weights {list(aspect_weights)}: each must be a number that float32 can hold.")
        return (texts.unflatten(1, (k, -1)) * weights[:, None]).flatten(1)

    def learned(self) -> dict[str, Tensor]:
        """The tensors that training changed, by name."""
        kept = {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}
        if self.text.fitted_norm is not None:
            kept |= {f"text.fitted_norm.{name}": b for name, b in self.text.fitted_norm.named_buffers()}
        return kept

    def parameters_by_kind(self) -> dict[str, list[nn.Parameter]]:
        """What learns, in five kinds that may want rates of their own.

        "towers": pretrained. "norms": new, on pretrained states, where a tower has none or one for another task.
        "plain": scale and adaptive tokens. "bias": the sigmoid's. "new": everything else.
        """
        norms = (self.text.norm, self.image.tokens_norm)  # a tower's own are among its parameters, too
        kind_of = {id(p): "norms" for norm in norms for p in norm.parameters()}
        towers = [self.image.tower] if self.text.llm.fresh else [self.text.llm, self.image.tower]
        kind_of |= {id(p): "towers" for tower in towers for p in tower.parameters()}
        kind_of |= {id(p): "plain" for p in (self.logit_scale, getattr(self.text, "vectors", self.logit_scale))}
        kind_of[id(self.bias)] = "bias"
        kinds: dict[str, list[nn.Parameter]] = {"new": [], "towers": [], "norms": [], "plain": [], "bias": []}
        for p in self.parameters():
            if p.requires_grad:
                kinds[kind_of.get(id(p), "new")].append(p)
        return kinds

    def save_pretrained(self, folder: str | Path, card: str = "") -> None:
        """Writes what was learned, the settings and the fingerprints of both backbones; `card` is the README.

        Raises:
            FileError: the folder exists, or cannot be written.
        """
        with whole_folder(Path(folder)) as temporary:
            save_file({k: v.contiguous().clone() for k, v in self.learned().items()}, temporary / TENSORS)
            write_json(
                temporary / "config.json",
                {
                    "format": "polyprompt-campe-1",
                    "settings": self.settings.model_dump(mode="json", include=set(ModelSettings.model_fields)),
                    "fingerprints": {"text": self.text.llm.fingerprint, "image": self.image.tower.fingerprint},
                },
            )
            write_text(temporary / "README.md", card or "# A CAMPE model made with polyprompt\n")

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        text_tower: str | None = None,
        image_tower: str | None = None,
        tower_dtype: str | None = None,
    ) -> "CAMPE":
        """Opens a saved model.

        Args:
            folder: the model's own.
            text_tower: where the text tower is now, if it has moved.
            image_tower: where the image tower is now.
            tower_dtype: of the LLM's frozen blocks, if not as it was trained.

        Raises:
            FileError: a file is missing or damaged, a backbone is not the one it was trained on, tensors do not fit.
            TowerError: a backbone cannot be opened.
        """
        folder = Path(folder)
        settings, _ = read_config(folder)
        places = {"text": text_tower, "image": image_tower}
        moved = {
            side: getattr(settings, side).model_copy(update={"tower": str(place)})
            for side, place in places.items()
            if place is not None
        }
        try:
            model = build(settings.model_copy(update=moved | ({"tower_dtype": tower_dtype} if tower_dtype else {})))
        except (TowerError, UnknownNameError) as error:
            raise TowerError(f"{folder}: {error} If it has moved, say where: {MOVED}.") from None
        return model.restored(folder)

    def restored(self, folder: Path) -> "CAMPE":
        """This model with what a saved one had learned, in evaluation.

        Raises:
            FileError: a file is missing or damaged, a backbone is not the one it was trained on, tensors do not fit.
        """
        fingerprints = {"text": self.text.llm.fingerprint, "image": self.image.tower.fingerprint}
        for side, expected in read_config(folder)[1].items():
            if fingerprints[side] != expected:
                name = getattr(self.settings, side).tower
                raise FileError(
                    f"{folder}: trained on a {side} tower {name!r} ({expected[:12]}), the one found here is "
                    f"another ({fingerprints[side][:12]}). Use the same weights."
                )
        tensors, learned = read_tensors(folder / TENSORS), self.learned()
        odd = sorted(set(tensors) ^ set(learned))
        if odd or any(tensors[name].shape != learned[name].shape for name in learned):
            raise FileError(f"{folder / TENSORS}: does not fit its config ({', '.join(odd[:3]) or 'other shapes'}).")
        check_finite(tensors, folder / TENSORS)
        self.load_state_dict(tensors, strict=False)
        return self.eval()

    def _batches(self, images: Pictures, frames: list[int]) -> Iterator[Pixels]:
        """Pixels of all pictures and frames; `frames` is told how many each item has."""
        most = together(self.preprocess.size)
        if isinstance(images, Tensor):
            yield from checked_pixels(images).to(self.bias.device).split(most)
            return
        waiting: list[Tensor] = []
        for items in made_ahead(self._pixels_of, list_of_pictures(images, frames=True), most):
            frames += map(len, items)
            waiting += [pixels for item in items for pixels in item]
            while len(waiting) >= most:
                yield torch.stack(waiting[:most]).to(self.bias.device)
                del waiting[:most]
        if waiting:
            yield torch.stack(waiting).to(self.bias.device)

    def _pixels_of(self, item: Picture | Frames) -> list[Float[Tensor, "3 height width"]]:
        """Preprocessed frames of a picture or video, [3, height, width] each."""
        opened = open_frames(item, self.settings.image.frames) if isinstance(item, Picture) else list(item)
        return [self.preprocess(frame) for frame in opened]


def build(settings: ModelSettings) -> CAMPE:
    """A model with fresh prompts and maps on the backbones that the settings name."""
    llm = open_llm(settings.text.tower, settings.text.depth, held_in(settings.tower_dtype))
    tower = open_image_tower(settings.image.tower, trained_blocks=settings.image.trained_blocks)
    return CAMPE(settings, llm, tower)


def held_in(tower_dtype: str) -> torch.dtype | None:
    """What a `TowerDtype` means for frozen blocks; None: as their checkpoint has them.

    Raises:
        UnknownNameError: there is no such one.
    """
    if tower_dtype not in get_args(TowerDtype):
        raise UnknownNameError("tower dtype", tower_dtype, get_args(TowerDtype))
    if tower_dtype != "auto":
        return torch.float32 if tower_dtype == "fp32" else torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return None if choose_precision(device).precision == "bf16" else torch.float32


def _tree(settings: ModelSettings, llm: LLM) -> PromptTree:
    text = settings.text
    match text.readout:
        case "prompts":
            negated = text.negated_template if settings.loss.negation else None
            return prompt_tree(llm, text.adaptive_words(), text.template, negated)
        case "end":
            return end_token(llm)
        case "tokens":
            return token_row(llm, text.adaptive_words())
        case _:
            return PromptTree()


def read_config(folder: Path) -> tuple[ModelSettings, dict[str, str]]:
    """Settings and the towers' fingerprints of a saved model.

    Raises:
        FileError: there is no model, or a file of it is damaged. ConfigError: settings of another version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileError(f"{folder}: no saved model here (config.json is missing). Give a run's model folder.")
    check_manifest(folder, FILES)
    saved = read_json(path)
    form = saved.get("format") if isinstance(saved, dict) else None
    if form != "polyprompt-campe-1":
        raise FileError(f"{path}: format is {form!r}, this version reads polyprompt-campe-1.")
    prints = saved.get("fingerprints")
    if not isinstance(prints, dict) or prints.keys() != {"text", "image"} or not all(map(_is_text, prints.values())):
        raise FileError(f"{path}: damaged, fingerprints must say those of text and image.")
    return checked(ModelSettings, saved.get("settings"), str(path)), prints


def _is_text(value: object) -> bool:
    return isinstance(value, str)
