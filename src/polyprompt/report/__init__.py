"""What a run looks like: tables, curves, attention maps and search results, as one page or as pictures."""
