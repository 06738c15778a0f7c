"""Calls from Python: overread beside other scanners with Python interfaces, on the same bodies."""
