"""The app: what is served, behind its guard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import polyprompt
from polyprompt.serve import adapting, classify, docs, errors, openai, page, search
from polyprompt.serve.guard import Guard
from polyprompt.serve.served import Service


def make_app(service: Service, token: str | None = None) -> FastAPI:
    """An app over a service.

    Args:
        service: closed when the app ends.
        token: what has to be shown; None: only names of this machine are answered to.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="polyprompt", version=polyprompt.__version__, docs_url=None, redoc_url=None, lifespan=life,
        description="Search collections by text and picture, embed, classify.",
    )  # fmt: skip
    app.state.service, app.state.token = service, token
    errors.add_to(app)
    for room in (openai, search, classify, adapting, page, docs):
        app.include_router(room.router)
    app.add_middleware(Guard, token=token)
    return app
