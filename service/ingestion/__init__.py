"""Ingestion: an owner's files come in, are checked, and become a track that can be remixed."""
