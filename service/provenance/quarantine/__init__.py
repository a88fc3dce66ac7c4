"""Quarantine: what was made and may not leave, kept for an operator to look at."""
