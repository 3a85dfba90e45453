"""Async client of the HTTP API."""
