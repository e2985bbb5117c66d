"""The test helper is writing this file."""
