"""Consent to training: grants of their own, and the adapters that rest on them."""
