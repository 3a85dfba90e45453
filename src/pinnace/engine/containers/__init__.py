"""Containers: their life, streams, files and limits."""
