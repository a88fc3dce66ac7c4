"""Training data made by code: pieces composed and rendered from seeds, written as a corpus."""
