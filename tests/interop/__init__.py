"""Programs of others against real peers: js-libp2p, and the TypeScript client of docs/examples/typescript."""
