"""p2p.inference.vllm: see README.md in this folder."""
