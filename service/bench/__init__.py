"""Measuring the service itself: how soon a revocation stops what runs, and who wins its races."""
