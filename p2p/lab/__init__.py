"""For researchers and test networks: attacks, measurements, the economy; nothing of a production peer imports it."""
