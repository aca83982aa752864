"""What runs the processes of a test network: this machine, or containers on it."""
