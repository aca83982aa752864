"""For all tests. Law: no test fails for the time it took: a machine ten times busier gives the same answers. What engines need before their
first import is here too."""

from __future__ import annotations

from hypothesis import settings

from p2p.inference.stack.instructions import without_tiles

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
without_tiles()
