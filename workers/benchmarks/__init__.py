"""Measurements that can be repeated: the figures this project claims are printed here."""
