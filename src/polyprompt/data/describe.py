"""An entry of the catalogue in lines."""

from collections.abc import Iterator

from polyprompt.data.entry import Entry


def lines(entry: Entry) -> Iterator[str]:
    """What is known of a set, a fact a line; what is not is left out."""
    yield entry.title
    for part in entry.parts or ("",):
        counts = [(split, entry.expected(entry.counts, part, split)) for split in entry.splits_in(part) or ("",)]
        counted = ", ".join(f"{split} {number:,}".strip() for split, number in counts if number is not None)
        things = "pairs" if entry.holds == "scores" else "pictures"
        yield f"{things} {part}".strip() + f": {counted}"
    facts = {
        "classes": f"{entry.classes}" if entry.classes else "",
        "class order": entry.order,
        "names changed": ", ".join(f"{original} -> {name}" for original, name in entry.renamed.items()),
        "names of two classes": ", ".join(entry.twins),
        "prompt": entry.template,
        "lies in": " or ".join(f"{folder}/" for folder in entry.folders),
        "page": entry.page,
        "licence": entry.licence,
        "form or account": "yes" if entry.form else "no",
        "fetched": ", ".join(one.url for one in entry.downloads) or "by hand",
    }
    yield from (f"{name}: {fact}" for name, fact in facts.items() if fact)
    yield from (f"to do: {step}" for step in entry.steps)
    yield from (f"note: {note}" for note in entry.notes)
