"""YAML as settings need it: texts, numbers, true, false, null, lists and mappings, and nothing that is guessed.

PyYAML reads YAML 1.1, where `no` is false, 010 is 8, 1e-3 is a text and 2020-02-30 cannot be built. Here numbers and
words are those of YAML 1.2 (and JSON), dates are texts; a key that comes twice, an alias and a tag are refused.
"""

import re
from collections.abc import Hashable
from pathlib import Path

import yaml

from polyprompt.errors import ConfigError
from polyprompt.values import Foreign, Json, Plain

LARGEST = 10_000_000
"""Bytes of a file with settings."""

SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
"""What YAML 1.2 reads as something else than a text (its core schema)."""


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Foreign, index: Foreign) -> yaml.Node | None:
        """Aliases are refused, since a few can stand for a billion values or for themselves; so are tags."""
        event = self.peek_event()
        alias = isinstance(event, yaml.AliasEvent)
        if alias or getattr(event, "tag", None) is not None:
            problem = "aliases (*) are not read; write it out" if alias else "tags (!) are not read; leave it out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def text(self, node: yaml.ScalarNode) -> str:
        """A text; the two halves of a character that JSON escapes one by one are joined."""
        return node.value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def mapping(self, node: yaml.MappingNode) -> dict[Hashable, Plain]:
        """A mapping whose keys differ."""
        entries: dict[Hashable, Plain] = {}
        for name, value in node.value:
            key = self.construct_object(name, deep=True)
            if not isinstance(key, Hashable) or key in entries:
                why = "comes twice" if isinstance(key, Hashable) else "cannot be a key"
                raise yaml.MarkedYAMLError(problem=f"{key!r:.60} {why}", problem_mark=name.start_mark)
            entries[key] = self.construct_object(value, deep=True)
        return entries

    def number(self, node: yaml.ScalarNode) -> int | float:
        """A number, as its tag says."""
        kind = int if node.tag.endswith(":int") else float
        try:
            return kind(re.sub(r"\.(?=[inIN])", "", node.value))  # .inf is inf in Python
        except ValueError:  # more digits than Python reads
            raise yaml.MarkedYAMLError(
                problem=f"{node.value:.20}... has {len(node.value):,} digits", problem_mark=node.start_mark
            ) from None


_Loader.yaml_implicit_resolvers, _Loader.yaml_constructors = {}, {}  # not PyYAML's own
for _name, _pattern in SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), None)
for _name, _make in {
    "null": lambda loader, node: None,
    "bool": lambda loader, node: node.value.lower() == "true",
    "int": _Loader.number,
    "float": _Loader.number,
    "str": _Loader.text,
    "seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    "map": _Loader.mapping,
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _make)


def read_yaml(path: Path) -> Json:
    """The settings that a YAML file holds; an empty file holds none.

    Raises:
        ConfigError: it cannot be read, is not YAML, or holds something else than settings.
    """
    try:
        if not path.is_file() and path.exists():
            raise ConfigError(f"{path}: cannot be read (not a file). Give a YAML file with settings.")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ConfigError(f"{path}: more than {LARGEST:,} bytes; not a file with settings.")
        content = parse_yaml(data.decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Give a YAML file with settings.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Give a YAML file with settings.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8.") from None
    except ValueError as error:
        raise ConfigError(f"{path}{error}.") from None
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path}: not settings; write one `key: value` a line.")
    return {str(key): value for key, value in (content or {}).items()}


def parse_yaml(text: str) -> Plain:
    """What a text holds.

    Raises:
        ValueError: it is not YAML, or cannot be built; the message begins with ", line 3: " or ": ".
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{where}: not YAML ({' '.join(problem.split())})") from None
    except RecursionError:
        raise ValueError(": not YAML (nested too deeply)") from None
