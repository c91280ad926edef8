"""Nodes that lie about consensus: a sound engine each, twisted on its way out."""
