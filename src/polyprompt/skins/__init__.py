"""The same models as other libraries expect them, one file each."""
