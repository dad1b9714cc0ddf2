"""Figures from embeddings: pure functions, no models."""
