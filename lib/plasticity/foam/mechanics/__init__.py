"""Small demonstrations of how growth works, and of what goes wrong where it is done as written.

`reading` makes a small model and the text it learns; `firing`, `diversity`, `zeroed`, `overshoot`,
`births`, `preservation` and `recipe` each measure one mechanism on it.
"""
