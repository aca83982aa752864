"""Mutated messages of the verified path: nothing crashes, nothing changed is accepted. `make fuzz N=1000000`."""
