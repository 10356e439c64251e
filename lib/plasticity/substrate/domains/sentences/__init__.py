"""Sentences: routes learnt from reward, sentences recalled from their first words, tiny facts."""
