"""What each API version changed, seen from an older client."""
