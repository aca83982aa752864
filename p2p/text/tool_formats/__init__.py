"""p2p.text.tool_formats: see README.md in this folder."""
