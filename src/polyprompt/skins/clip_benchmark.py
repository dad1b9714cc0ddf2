"""clip_benchmark's own command line on a run or an encoder of ours.

    python -m polyprompt.skins.clip_benchmark eval --model runs/photos --dataset wds/mine --dataset_root FOLDER \\
        --task zeroshot_retrieval --no_amp --num_workers 0 --output mine.json

All of its options are as they are there; `--model_type polyprompt` is said for you, and `--pretrained` is only a label.
On a CPU say `--no_amp`: it multiplies in bfloat16 otherwise. There is no way to announce a model of one's own to it, so
this one is put into its table before its program starts.
"""

import sys
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.errors import ConfigError, PolypromptError, install
from polyprompt.media.pictures import Preprocess
from polyprompt.search.models import Embedder, open_model
from polyprompt.types import Pixels

MODEL_TYPE = "polyprompt"


class Texts(list[str]):
    """Texts where tokens are expected; they are on every device."""

    def to(self, device: str | torch.device) -> "Texts":
        """The same texts: they lie on no device, and serve every one."""
        return self


class Towers(nn.Module):
    """The two calls that it makes of a model."""

    def __init__(self, model: Embedder, device: str | torch.device) -> None:
        super().__init__()
        self.model, self.device = model, device

    def encode_image(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """Unit rows of preprocessed pictures."""
        return self.model.images(pixels).to(self.device)

    def encode_text(self, texts: Texts) -> Float[Tensor, "t D"]:
        """Unit rows of texts."""
        return self.model.texts(texts).to(self.device)


def load_ours(
    model_name: str, pretrained: str, cache_dir: str | None, device: str | torch.device
) -> tuple[Towers, Preprocess, type[Texts]]:
    """Model, transform and tokenizer, as its loaders give them: of a run's folder, or an encoder of the zoo.

    Raises:
        ConfigError, FileError, TowerError, UnknownNameError: as `open_model`.
    """
    model = open_model(model_name)
    return Towers(model, device), model.preprocess, Texts


def accuracy(output: Float[Tensor, "b c"], target: Int[Tensor, "b"], topk: Sequence[int] = (1,)) -> list[float]:
    """The share of rows whose target is among the k highest, for each k.

    In the place of clip_benchmark 1.6's own, which calls `float` on an array of one number; numpy 2.4 refuses that with
    a TypeError. To be dropped when a version of it does not.
    """
    hit = output.topk(max(topk), dim=1).indices == target[:, None]
    return [float(hit[:, :k].any(dim=1).float().mean()) for k in topk]


def main() -> None:
    """clip_benchmark's program, with our models in its table.

    Raises:
        ConfigError: it is not installed. What it raises itself passes through.
    """
    try:
        from clip_benchmark import models
        from clip_benchmark.metrics import zeroshot_classification
    except ImportError:
        raise ConfigError(f"this needs the package clip_benchmark; {install('clip-benchmark')}") from None
    models.TYPE2FUNC[MODEL_TYPE] = load_ours
    if MODEL_TYPE not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(MODEL_TYPE)
    zeroshot_classification.accuracy = accuracy
    from clip_benchmark.cli import main as theirs  # only now: its options are made of that table

    if sys.argv[1:2] == ["eval"]:  # its own default name of the output has the model in it, which is a path here
        output = "{dataset}_{pretrained}_{language}_{task}.json"
        sys.argv[2:2] = ["--model_type", MODEL_TYPE, "--pretrained", MODEL_TYPE, "--output", output]
    theirs()


if __name__ == "__main__":
    try:
        main()
    except PolypromptError as error:
        print("polyprompt:", error, file=sys.stderr)
        sys.exit(2)
