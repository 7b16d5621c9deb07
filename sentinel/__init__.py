"""Sentinel watches telemetry, folds what is unusual into one incident, and mends it when people agree.

samples -> detection -> correlation -> approval -> execution -> verified: resolved, or undone and handed over.

`telemetry` decodes what the world says. `detection` scores every series and says which turned unusual.
`correlation` makes one incident of what belongs together, ranks suspects and recalls the like.
`remediation` chooses a runbook, judges whether it is safe and approved, and says the next step.
`incidents` holds the nouns and the two lives: read `incidents/transitions.py` first. Every change is a
fact in the journal; an incident is what its facts tell. This package is deterministic and does not know
Ray: `actors/` is its shell, `serve_apps/` its door, `adapters/` the only way out to the world.
"""
