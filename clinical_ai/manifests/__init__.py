"""Settings and a release turned into what a runtime is given: pure, shown by golden files."""
