"""Consent: grants signed by every owner, single-use job tokens, and the gate."""
