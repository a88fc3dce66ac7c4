"""The page: one HTML document with standards-based modules, no build step."""
