"""Jobs: accepted work, who works on it now, and what became of it. The database is the truth."""
