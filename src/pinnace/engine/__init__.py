"""Decisions: no HTTP bytes, no system calls, no SQL."""
