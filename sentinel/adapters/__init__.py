"""The only door out: every port of `sentinel.ports` on a real system, and in memory."""
