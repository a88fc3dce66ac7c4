"""What an engine takes of a request: one place for who refuses at submit and who generates."""

# The longest track (15 minutes) at the slowest tempo a template may allow (-25 %), and rounding.
SHORTEST_S, LONGEST_S = 1.0, 20 * 60.0 + 1.0
"""Seconds of a song that a part can be made for."""

MOST_GUIDANCE = 20.0
HIGHEST_TEMPERATURE = 5.0
LARGEST_TOP_K = 65_536
