"""Collections and models over HTTP: an API that others' clients speak, and a page to search with."""
