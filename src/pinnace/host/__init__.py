"""Side effects; each module implements one contract."""
