"""All that may happen, within bounds, in place of a sample of it."""
