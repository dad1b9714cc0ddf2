"""Who may ask, how much, and what becomes of requests whose clients have gone."""

import asyncio

from asking import TOKEN
from fastapi.testclient import TestClient

from polyprompt.serve.app import make_app
from polyprompt.serve.guard import BODIES, BODY, Guard


def test_without_a_token_names_of_this_machine_alone_are_answered_to(client):
    assert client.get("/collections").status_code == 200
    for host in ("localhost:8008", "127.0.0.1", "[::1]:99"):
        assert client.get("/collections", headers={"host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example:80", "10.0.0.1"):
        assert client.get("/collections", headers={"host": host}).status_code == 403
    ours = client.get("/collections", headers={"origin": "http://localhost"})
    theirs = client.get("/collections", headers={"origin": "https://evil.example"})
    assert (ours.status_code, theirs.status_code) == (200, 403)


def test_a_token_is_asked_for_everywhere_but_on_the_page_itself(service):
    client = TestClient(make_app(service, TOKEN), base_url="http://pictures.example")
    for path in ("/collections", "/openapi.json", "/v1/models", "/collections/photos/thumbnails/0"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/").status_code == 200
    assert client.post("/session", json={"token": "wrong"}).status_code == 401
    cookie = client.post("/session", json={"token": TOKEN}).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/collections").status_code == 200


def test_every_answer_says_what_a_browser_may_do(client):
    for path in ("/", "/collections", "/nowhere", "/page.js"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy


def test_bodies_are_measured_before_they_are_read(client):
    headers = [(b"host", b"localhost"), (b"content-length", str(BODY + 1).encode())]
    assert asked_by(Guard(lambda *_: None), iter([]), {"headers": headers})[0]["status"] == 413  # nothing has come yet
    streamed = client.post("/search", content=iter([b"x" * BODY, b"x"]))  # no length is said
    assert (streamed.status_code, streamed.json()["error"]["code"]) == (413, "too_large")
    assert client.post("/search", content=b"x" * BODY).status_code == 400  # read, and no JSON
    assert client.post("/search", json={"collection": "photos", "text": "a"}).status_code == 200


def test_many_large_bodies_at_once_have_to_wait():
    app = Guard(lambda *_: None, held=BODIES - 2)
    start, _ = asked_by(app, iter([{"type": "http.request", "body": b"abc"}]))
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"1")
    assert app.held == BODIES - 2


def asked_by(app, messages, scope=None):
    """Runs an ASGI app on messages, which come one by one; what it sent."""
    sent = []

    async def run():
        async def receive():
            message = next(messages, None)
            return message or await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        scope_ = {"type": "http", "path": "/", "headers": [(b"host", b"localhost")]} | (scope or {})
        await app(scope_, receive, send)

    asyncio.run(run())
    return sent


def test_a_request_is_cancelled_when_its_client_goes():
    ended = []

    async def slow(scope, receive, send):
        assert (await receive())["body"] == b"ab"
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    app = Guard(slow)
    parts = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}]
    assert asked_by(app, iter([*parts, {"type": "http.disconnect"}])) == []
    assert ended == [True]
    assert app.held == 0


def test_a_body_that_does_not_come_is_not_waited_for():
    app = Guard(lambda *_: None, patience=0.05)
    sent = asked_by(app, iter([{"type": "http.request", "body": b"a", "more_body": True}]))
    assert sent[0]["status"] == 408
