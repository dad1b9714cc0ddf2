"""Protocols of the field, and grids of results by them."""
