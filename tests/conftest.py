"""What every test process begins with. Law: nothing but what has to be there before the first import of an engine."""

from __future__ import annotations

from p2p.inference.instructions import without_tiles

without_tiles()
