"""The embedded runtime: tasks on worker processes of the caller, and no server.

Where to read: `tasks` and `hub` (what is known, who runs what; pure), `requests` (what
workers ask for; pure), `runtime` (the shell around them, in the driver), `borrower`
(the other end, in a worker).

The path of one call: `Embedded.submit` pickles it and puts a Task into the inbox; a
round gives it to the hub, whose `place` assigns it; the pool writes a frame; the
worker's `perform` calls the function; the pool reads its `Ran`, `Hub.ran` puts the
outcome into the ref, and whoever waits in `Embedded.get` sees it there. A call alone
skips the rounds: `Embedded._exchange`. Calls between processes skip the driver: `lines`
and `straight_calls`.
"""
