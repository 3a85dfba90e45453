"""One module per group of operations; handlers translate and decide nothing."""
