"""A grant as one self-contained document, sealed by the service and checked without it."""
