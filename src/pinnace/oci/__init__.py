"""Image and runtime specifications: pure, touches nothing."""
