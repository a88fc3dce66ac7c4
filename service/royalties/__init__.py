"""Royalties: what every published remix and its plays owe to whom, posted once, to the unit."""
