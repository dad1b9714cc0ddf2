"""/docs tells every call that /openapi.json has, without a script, a style or an address of elsewhere."""

import html
import re

from fastapi.testclient import TestClient

from polyprompt.serve.app import make_app
from polyprompt.serve.docs import calls_of, kind_of

TOKEN = "a-long-enough-token"


def test_every_call_and_every_field_is_there(client):
    message, answer = client.get("/openapi.json").json(), client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = html.unescape(re.sub("</?code>", "`", answer.text))
    for path, operations in message["paths"].items():
        for method, operation in operations.items():
            assert f"<span>{method.upper()}</span> `{path}`" in page
            assert operation["description"] in page
    for name in ("Embed", "Search", "Classify", "Sort", "Marks"):
        assert all(f"<dt>`{field}`" in page for field in message["components"]["schemas"][name]["properties"])
    assert "/docs" not in message["paths"]


def test_nothing_runs_in_it_and_nothing_is_fetched(client):
    page = client.get("/docs")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", page.text)
    assert set(re.findall(r'(?:src|href)="([^"#]*)"', page.text)) == {"/icon.svg", "/page.css", "/openapi.json", "/"}


def test_the_examples_are_taken(client, service):
    """With a real id in its place, the example of each call is no bad request."""
    for call in calls_of(client.get("/openapi.json").json()):
        if call.body and call.path in ("/v1/embeddings", "/search"):
            body = call.body.replace('"model": "..."', '"model": "toy"').replace(
                '"collection": "..."', '"collection": "photos"'
            )
            answer = client.post(call.path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text


def test_kinds_are_told_in_words():
    schemas = {"One": {"type": "object", "properties": {"text": {"type": "string"}}}}
    assert (
        kind_of(
            {"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/One"}}, {"type": "null"}]}, schemas
        )
        == 'list of {"text"}'
    )
    assert kind_of({"enum": ["float", "base64"]}, {}) == '"float" or "base64"'


def test_a_server_with_a_token_shows_it_to_those_who_have_it(service):
    asking = TestClient(make_app(service, TOKEN), base_url="http://localhost")
    assert asking.get("/docs").status_code == 401
    assert asking.get("/docs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
