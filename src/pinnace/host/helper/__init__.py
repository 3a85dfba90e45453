"""Small programs that run outside the daemon."""
