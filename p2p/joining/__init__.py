"""A newcomer's way into a network, step by step."""
