"""Settings and a release as Kubernetes objects: plain dictionaries, pure functions."""
