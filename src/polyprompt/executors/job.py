"""What every executor is handed."""

from collections.abc import Callable
from pathlib import Path

Job = Callable[[Path], None]
"""What each worker does with a file or folder that all see: a function of a module, so that other machines find it."""
Watch = Callable[[], None]
"""Called now and then while workers are at work."""
