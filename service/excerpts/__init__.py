"""Excerpts: what a listener hears of a remix while the rest of it is made."""
