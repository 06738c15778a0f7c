"""What a registry of live secrets costs: scanning beside it, observing, looking up."""
