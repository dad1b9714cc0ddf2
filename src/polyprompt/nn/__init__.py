"""Tensors in, tensors out: prompt trees, prompts, blocks, pooling and losses; no weights of others, no towers."""
