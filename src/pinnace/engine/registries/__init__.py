"""Registries as the API shows them: logins, search, what a repository holds."""
