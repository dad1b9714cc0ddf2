"""Files: written whole or not at all, hashed, checked when opened."""
