"""Samples -> anomalies, vectorised over all series of a partition at once."""
