"""The server as a program: a port that is free, a host that is safe."""

import errno
import socket

import uvicorn
from fastapi import FastAPI

from polyprompt.errors import ConfigError
from polyprompt.serve.guard import LOOPBACK

SHORTEST = 12
"""Letters of a token."""
IDLE = 30
"""Seconds that an idle connection is kept: longer than clients keep theirs, so that none is closed under a request."""


def check_host(host: str, token: str | None) -> None:
    """Refuses to be open to others without a token.

    Raises:
        ConfigError: a host beyond this machine and no token, or one that is guessed too soon or cannot be sent.
    """
    if token is None and host not in LOOPBACK:
        raise ConfigError(
            f"--host {host}: others could ask, so a token is needed: --token, or POLYPROMPT_TOKEN; "
            "python -c 'import secrets; print(secrets.token_urlsafe())' makes one."
        )
    if token is not None and (
        len(token) < SHORTEST or not all("!" <= sign <= "~" and sign not in '";,\\' for sign in token)
    ):
        raise ConfigError(f"--token: at least {SHORTEST} letters and digits, without spaces and quotes.")


def bound(host: str, port: int) -> socket.socket:
    """A socket at this place.

    Raises:
        ConfigError: it is taken, not ours to take, or no place.
    """
    listener = None
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        way = "Another program listens there; --port 0 takes any free one." if taken else "Give another place."
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{host}:{port}: cannot be listened to ({why}). {way}") from None
    return listener


def serve(app: FastAPI, at: socket.socket) -> None:
    """Answers requests at a socket, until Ctrl-C or a signal to end."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=IDLE, server_header=False)
    uvicorn.Server(config).run(sockets=[at])
