"""Pretrained encoders cut open: embed, blocks, read-out."""
