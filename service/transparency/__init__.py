"""The public log: what was issued, granted and taken back, as hashes that only ever grow."""
