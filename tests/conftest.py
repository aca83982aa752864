"""For all tests. Law: no test fails for the time it took: a machine ten times busier gives the same answers."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
