"""A run folder: trained, resumed, finished, opened."""
