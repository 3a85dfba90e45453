"""Composition root: the only package that sees everything."""
