"""Findings: one module per system, tidy rows in, sentences and tables out.

They stand apart from the experiments so that a change of wording never counts as a change of the
code that measured.
"""
