"""How detectors are scored on public sets: published measures in plain NumPy, and readers of the sets."""
