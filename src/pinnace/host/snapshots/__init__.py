"""Filesystem states out of layers."""
