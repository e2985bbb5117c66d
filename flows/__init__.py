"""What the platform does, in order: a file a chapter of the guide."""
