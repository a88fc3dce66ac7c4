"""The innermost loops of the decoder, as machine code for the processor at hand."""
