"""The endpoint: four machines, their shells, and how they are launched.

The path of one task: a client's `Submit` comes to `interchange`, which queues,
accepts and leases it, goes as `Lease` to `manager` (given to a worker of its pool),
comes back as `Finished`, is acknowledged, and goes on as `Results` until the client
acknowledges. A call of an actor's method takes the same way, by the interchange's
`roster` and `hosts`.
The path of one heartbeat: `membership` sends it up, `liveness` judges it, both ways.
"""
