"""How the bundled weights were made: data, separator, codecs and generator, each from a seed."""
