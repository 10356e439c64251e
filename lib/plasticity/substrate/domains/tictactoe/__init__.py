"""Tic-tac-toe: the whole game as tables, players that learn it, and proof over the whole tree."""
