"""What runs beside the GPU: separation, regeneration, mixing, stamping and the training of weights."""
