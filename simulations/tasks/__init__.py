"""Whole nodes in the simulator: consensus and tasks together, those who lie about work, and their judge."""
