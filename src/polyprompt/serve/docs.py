"""The API as a page to read, /docs: what /openapi.json says, laid out by the server, without a script or a network."""

import json
import re
from dataclasses import dataclass

import jinja2
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from polyprompt.values import Foreign, Values

router = APIRouter(include_in_schema=False)
PAGES = jinja2.Environment(loader=jinja2.PackageLoader("polyprompt.serve", "page_files"), autoescape=True)
PAGES.filters["code"] = lambda text: Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "maxLength": "at most {} letters",
    "maxItems": "at most {}",
}


@dataclass(frozen=True)
class Field:
    """What a call takes."""

    name: str
    kind: str
    about: str
    required: bool


@dataclass(frozen=True)
class Call:
    """One call of the API."""

    method: str
    path: str
    about: str
    fields: list[Field]
    body: str | None
    """An example, JSON with the fields that have to be there."""


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """The page, made of the app's own schema."""
    page = PAGES.get_template("docs.html")
    schema = request.app.openapi()
    address = str(request.base_url).rstrip("/")
    return HTMLResponse(page.render(about=schema["info"], calls=calls_of(schema), address=address))


def calls_of(schema: Values) -> list[Call]:
    """All calls of an OpenAPI description, in its order."""
    return [
        _call(path, method, operation, schema["components"]["schemas"])
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]


def _call(path: str, method: str, operation: Values, schemas: Values) -> Call:
    fields = [_field(one["name"], one["schema"], True, schemas) for one in operation.get("parameters", ())]
    body = operation.get("requestBody")
    example = None
    if body:
        schema = _followed(body["content"]["application/json"]["schema"], schemas)
        needed = schema.get("required", ())
        fields += [_field(name, one, name in needed, schemas) for name, one in schema["properties"].items()]
        example = json.dumps({name: _example(schema["properties"][name], schemas) for name in needed})
    return Call(method.upper(), path, operation["description"], fields, example)


def _field(name: str, schema: Values, required: bool, schemas: Values) -> Field:
    inner = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"] or [schema]
    limits = [form.format(f"{inner[0][key]:,g}") for key, form in LIMITS.items() if key in inner[0]]
    default = [f"{json.dumps(schema['default'])} if not given"] if schema.get("default") not in (None, []) else []
    about = " ".join(part for part in (schema.get("description", ""), ", ".join([*limits, *default])) if part)
    return Field(name, kind_of(schema, schemas), about, required)


def kind_of(schema: Values, schemas: Values) -> str:
    """A schema in a few words."""
    schema = _followed(schema, schemas)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [kind_of(one, schemas) for one in schema[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " or ".join(map(json.dumps, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema['items'], schemas)}"
    if "properties" in schema:
        return "{" + ", ".join(map(json.dumps, schema["properties"])) + "}"
    return schema.get("type", "anything")


def _example(schema: Values, schemas: Values) -> Foreign:
    schema = _followed(schema, schemas)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _example(schema[several][0], schemas)
    if schema.get("type") == "array":
        return [_example(schema["items"], schemas)] * max(1, schema.get("minItems", 1))
    return {"integer": 0, "number": 0.0, "boolean": False}.get(schema.get("type", ""), "...")


def _followed(schema: Values, schemas: Values) -> Values:
    """The schema itself, where another is named."""
    return schemas[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
