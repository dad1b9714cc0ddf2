"""Bytes to pictures, frames and pixels."""
