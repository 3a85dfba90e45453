"""Frozen records of the newest API version, shared by every layer."""
