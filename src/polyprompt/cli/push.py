"""`polyprompt push`."""

from typing import Annotated

import typer

from polyprompt.cli.arguments import Run


def command(
    run: Run,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where on the hub; made if it is not there.")],
    licence: Annotated[str | None, typer.Option("--license", help="As the hub calls it: apache-2.0.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Whether a new repository is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the card, and send nothing.")] = False,
) -> None:
    """Put what a run learned on the Hugging Face hub, with a card of its figures; hf:OWNER/NAME is then a RUN.

    Log in before with `hf auth login`, or set HF_TOKEN. Towers stay where they are.

    Example: polyprompt push runs/pets me/pets --license apache-2.0
    """
    if dry_run:
        from polyprompt.skins.card import card_of

        typer.echo(card_of(run, repo, licence))
        return
    from polyprompt.skins.hub import push_to_hub

    typer.echo(push_to_hub(run, repo, license=licence, private=private or None))
