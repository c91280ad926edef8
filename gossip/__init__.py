"""The lowest floor: identity, codec, signed messages, membership, transport between nodes."""
