"""Pinnace: a container engine for one Linux host behind the Docker Engine API."""
