"""Counting clean bodies: where every weight of the evidence comes from."""
