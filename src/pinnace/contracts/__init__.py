"""What the engine needs from the host and the store; the docstrings are the contract."""
