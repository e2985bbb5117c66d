"""Verbs over a Kubernetes cluster."""
