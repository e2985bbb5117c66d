"""Day zero: from a bare checkout until the platform's own flows take over."""
