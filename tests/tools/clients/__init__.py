"""`make clients`: unmodified clients of other people against a gateway. See README.md."""
