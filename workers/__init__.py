"""What runs beside the GPU: separation, regeneration, mixing, stamping, training."""
