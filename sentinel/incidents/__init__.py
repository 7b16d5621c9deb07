"""The nouns of an incident and its life: facts, the two transition tables, the audit chain."""
