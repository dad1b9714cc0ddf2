"""A name, a folder or a file -> a dual encoder."""
