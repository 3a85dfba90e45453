"""The contract of API 1.0, 1.1 and 1.2, line by line."""
