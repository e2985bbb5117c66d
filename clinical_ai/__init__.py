"""How the platform does things: plain Python, layered from knowing to doing."""

__version__ = "1.0.0"
