"""The page, its files, and how a browser shows the token: once, for a cookie that scripts cannot read."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response

from polyprompt.serve.errors import Refused
from polyprompt.serve.guard import COOKIE, same
from polyprompt.serve.requests import Session

router = APIRouter(include_in_schema=False)
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@router.get("/")
@router.get("/page.js")
@router.get("/page.css")
@router.get("/icon.svg")
def file(request: Request) -> Response:
    """One of the page's files."""
    name, kind = FILES[request.url.path]
    data = (files("polyprompt.serve") / "page_files" / name).read_bytes()
    return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})


@router.post("/session")
def session(body: Session, request: Request) -> Response:
    """A cookie for the token."""
    token = request.app.state.token
    if token is None or not same(body.token, token):
        raise Refused(401, "this is not the token")
    response = Response(status_code=204)
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response
