"""What is decided: pure code, no socket, no clock, no chance of its own.

Read `turn` first, then `ledger` and `placement` (the tasks of an endpoint, and who
gets them), `membership` and `liveness` (who is there), `scaling` (how many blocks there
shall be).
"""
