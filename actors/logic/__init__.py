"""What is decided: pure code, no socket, no clock, no chance of its own.

Read `turn` first, then `states`.
"""
