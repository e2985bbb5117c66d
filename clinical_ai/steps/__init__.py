"""Verbs over ports: each asks first whether it is already so, and says what it changed."""
