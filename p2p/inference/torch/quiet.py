"""Lets torch's threads sleep while they wait. Law: import it before torch, or it has no effect.

OpenMP reads the variable when its library is loaded. By default its threads spin at the barrier after each operation.
On cores that others use too (the peer's event loop, a second engine) they spin while the thread they wait for cannot
run: ten times slower, as measured.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from p2p.inference.stack.instructions import without_tiles

without_tiles()
