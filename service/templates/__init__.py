"""Remix templates: what may change and how far. A version, once made, never changes."""
