"""Models to the Hugging Face hub and back, as transformers has it: `push_to_hub` and `from_pretrained`."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from polyprompt.adapt.classifier import Classifier
from polyprompt.campe import model as aligned
from polyprompt.campe.model import CAMPE
from polyprompt.disk.files import (
    check_manifest,
    make_folder,
    read_json,
    write_json,
    write_manifest,
    write_text,
    writing,
)
from polyprompt.disk.hub import PREFIX, SUFFIXES, fetched, is_on_hub, reached
from polyprompt.errors import ConfigError
from polyprompt.progress import step
from polyprompt.runs import saved
from polyprompt.runs.load import load, model_folder
from polyprompt.skins.card import card_of, public
from polyprompt.towers.encoder import Encoder

CARD = "README.md"
MESSAGE = "Push a model of polyprompt"


def push_to_hub(
    run: str | Path,
    repo_id: str,
    *,
    license: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str = MESSAGE,
) -> str:
    """Puts what a run learned on the hub, with a card of its figures; returns the address of the commit.

    Weights of towers stay where they are; files that an earlier push left and this one has not are taken away.

    Args:
        run: of `align` or `adapt`, or a saved model's own folder.
        repo_id: "me/pets"; made if it is not there.
        license: as the hub calls it: "apache-2.0".
        private: whether a new repository is.
        token: with the right to write; None: the one that huggingface_hub knows.
        revision: the branch.
        create_pr: whether to propose it instead.
        commit_message: of the commit.

    Raises:
        FileError: the run has no model, it is damaged, or the hub does not take it.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        lay_out(run, repo_id, folder, license)
        with reached(f"{PREFIX}{repo_id}"):
            api.create_repo(repo_id, private=private, exist_ok=True)
            mb = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
            with step(f"Sending {mb:.1f} MB to {repo_id}"):
                done = api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    commit_message=commit_message,
                    revision=revision,
                    create_pr=create_pr,
                    delete_patterns=[f"*{suffix}" for suffix in SUFFIXES],
                )
    return done.pr_url or done.commit_url


def lay_out(run: str | Path, repo_id: str, folder: Path, license: str | None = None) -> None:
    """What `push_to_hub` sends, in a new folder: the model's files, its card, the manifest of both.

    Where a tower lies on this machine is nobody's business: of a local path the last name stays.

    Raises:
        ConfigError: the model is on the hub already. FileError: it is damaged, or cannot be written.
    """
    if is_on_hub(run):
        raise ConfigError(f"{run}: is on the hub already; give a run's folder.")
    source = model_folder(run)
    names = check_manifest(source, saved.FILES if (source / saved.CONFIG).is_file() else aligned.FILES)
    card = card_of(run, repo_id, license)
    for name in names:
        with writing(make_folder((folder / name).parent)):
            shutil.copyfile(source / name, folder / name)
    for name in (saved.CONFIG, "config.json"):
        if (folder / name).is_file():
            write_json(folder / name, _public(read_json(folder / name)))
    write_text(folder / CARD, card)
    write_manifest(folder)


def _public(config: Any) -> Any:
    """A saved config without local paths."""
    if "base_model_name_or_path" in config:
        return config | {"base_model_name_or_path": public(config["base_model_name_or_path"])}
    towers = {side: config["settings"][side] for side in ("text", "image")}
    towers = {side: facts | {"tower": public(facts["tower"])} for side, facts in towers.items()}
    return config | {"settings": config["settings"] | towers}


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    encoder: Encoder | str | Path | None = None,
    **towers: str | None,
) -> CAMPE | Classifier:
    """What `push_to_hub` put on the hub, or the model in a local folder; nothing that comes with it is executed.

    Args:
        name: "me/pets", or a folder.
        revision: a branch, a tag or a commit.
        token: for a private one; None: the one that huggingface_hub knows.
        encoder, towers: as for `load`.

    Raises:
        FileError: it is not there, is no model of ours, or is damaged. TowerError, ConfigError: as `load`.
    """
    if not Path(name).is_dir():
        at = f"@{revision}" if revision else ""
        name = fetched(f"{PREFIX}{str(name).removeprefix(PREFIX)}{at}", token)
    return load(name, encoder, **towers)
