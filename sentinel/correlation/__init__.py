"""Anomalies -> incidents: what belongs together, what likely caused it, what it resembles."""
