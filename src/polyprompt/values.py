"""Names for what has no closer type: plain values as JSON and YAML give them, and objects of other libraries."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Values: TypeAlias = Mapping[str, Any]
"""Plain values by name, to be read; whoever reads one knows, or checks, what it is."""

Json: TypeAlias = dict[str, Any]
"""The same, to be added to and written."""

Plain: TypeAlias = Any
"""One such value: a number, a text, a list, values by name."""

Foreign: TypeAlias = Any
"""An object of a library that has no types, or whose classes differ with its version."""
