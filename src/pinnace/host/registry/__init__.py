"""The client side of registries: distribution-v2 over HTTP."""
