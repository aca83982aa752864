"""Networks of real processes on this machine: made, started, loaded, shown (see README.md)."""
