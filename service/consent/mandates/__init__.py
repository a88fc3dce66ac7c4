"""Mandates: a party's right to sign, given to another for a catalogue, a time and a purpose."""
