"""The shell on Ray: one plain class a stage. Each method gathers, decides (pure), records, acts, forwards.

Nothing calls back: outcomes travel through the journal. A stage that starts asks the journal for its
unfinished work, then follows it; there is no other recovery code.
"""
