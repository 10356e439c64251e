"""One module per chapter: a `Config`, the `datasets` it reads, and `run` from config to rows."""
