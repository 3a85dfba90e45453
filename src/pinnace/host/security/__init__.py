"""Seccomp profiles and capabilities."""
