"""`polyprompt serve`."""

from typing import Annotated

import typer

from polyprompt.cli.arguments import Encoder, ImageTower, TextTower
from polyprompt.errors import ConfigError, install


def command(
    served: Annotated[
        list[str], typer.Argument(metavar="COLLECTION|RUN...", help="What `polyprompt index` made; runs, encoders.")
    ],
    host: Annotated[
        str, typer.Option(help="Where to listen; other than this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8008,
    token: Annotated[
        str | None, typer.Option(envvar="POLYPROMPT_TOKEN", help="What has to be shown with every request.")
    ] = None,
    encoder: Encoder = None,
    text_tower: TextTower = None,
    image_tower: ImageTower = None,
) -> None:
    """A page to search collections with, and an API: search, embeddings as OpenAI's, classes by any words.

    Example: polyprompt serve collections/pictures
    """
    try:
        from polyprompt.serve.run import bound, check_host, serve
    except ImportError:
        raise ConfigError(f"serve needs the packages fastapi and uvicorn; {install('serve')}") from None
    check_host(host, token)
    at = bound(host, port)
    with at:
        from polyprompt.search.collection import is_collection
        from polyprompt.search.models import is_of_the_zoo, open_model
        from polyprompt.serve.app import make_app
        from polyprompt.serve.served import open_service
        from polyprompt.zoo.load import check_name

        for name in served:
            if not is_collection(name) and is_of_the_zoo(name):
                check_name(name)
        towers = {"text_tower": text_tower, "image_tower": image_tower}
        service = open_service(served, lambda name: open_model(name, encoder, **towers))
        name = f"[{host}]" if ":" in host else host
        typer.echo(f"Open http://{name}:{at.getsockname()[1]} (Ctrl-C ends it)")
        serve(make_app(service, token), at)
