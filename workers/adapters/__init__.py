"""An artist's own adapter: trained from a catalogue whose owners all signed for it."""
