"""What a test network is, as a TOML file says it. Law: pure; it starts nothing and knows no provider."""
