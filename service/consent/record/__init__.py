"""The gate's record, and who may read which of it."""
