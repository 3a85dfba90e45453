"""Dockerfiles of every kind, and what dockerd's classic builder makes of them."""
