"""A change of ownership: agreed by those it concerns, and the end of the old owners' grants."""
