"""Folkmoot: a peer-to-peer network for verified inference. The tree is the architecture; see ARCHITECTURE.md."""

__version__ = "0.1.0"
