"""The resident process that owns stdio, exits and logs of containers; standard library only."""
