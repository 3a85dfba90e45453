"""Request envelopes of the newest API version."""
