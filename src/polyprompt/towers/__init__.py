"""Pretrained encoders cut open: embed, blocks, readout."""
