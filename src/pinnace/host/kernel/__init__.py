"""Wrappers of system calls, one function each."""
