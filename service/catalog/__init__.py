"""The catalogue: parties, tracks, and the shares that say who owns what."""
