"""Data sets that come with the library or are fetched by it, one file each."""
