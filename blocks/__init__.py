"""What operators keep in Prefect and may edit in its UI."""
