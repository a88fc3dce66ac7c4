"""Recognition: which recording of ours a sound is, among a hundred thousand."""
