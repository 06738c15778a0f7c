"""Leak windows cut from the memory of real servers under synthetic traffic: what recall is measured on."""
