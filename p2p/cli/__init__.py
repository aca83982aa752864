"""The command `folkmoot` (see README.md)."""
