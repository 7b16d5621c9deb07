"""Judgements about acting: which runbook, whether it is safe, who agrees, what comes next."""
