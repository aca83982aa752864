"""What clients may do to a gateway, and what they get (`make gateway-abuse`)."""
