"""Threads of torch that wait asleep. Law: imported before torch, or it is of no effect.

OpenMP reads the variable when its library is loaded. By default a thread spins at the barrier after each operation; on cores
that others use too (the peer's own event loop, a second engine) it then waits for a thread that cannot run: measured ten times slower.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from p2p.inference.stack.instructions import without_tiles

without_tiles()
