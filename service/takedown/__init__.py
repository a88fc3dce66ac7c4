"""What a revocation or an order does to published remixes: delivery ends, pay is given back."""
