"""Mutated messages of the verified path: no check crashes and none accepts a changed message. `make fuzz N=1000000`."""
