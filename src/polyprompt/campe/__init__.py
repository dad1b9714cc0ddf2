"""CAMPE: an LLM as text tower, K prompts behind a caption, K segments of one embedding."""
