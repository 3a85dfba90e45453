"""The `pinnace` command."""
