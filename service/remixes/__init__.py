"""Remixes: a listener asks, follows, cancels, hears; and the one place that publishes."""
