"""The lowest floor: identity, codec, signed messages, membership and the transport between nodes."""
