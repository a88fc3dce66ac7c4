"""Makes the new part: codecs, the conditioned language model, the engine that runs it, ranking."""
