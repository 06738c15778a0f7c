"""What overread says about named incidents, about clean responses that look like leaks, and about adversaries."""
