"""Previews: an owner hears a template version before anybody grants it; and how drafts go."""
