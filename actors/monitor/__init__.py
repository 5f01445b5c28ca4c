"""What programs may know of an endpoint: metrics, health, readiness.

    interchange ──events, a picture now and then──► Figures ──► /metrics
                                                            └─► /readyz
    the kernel, the journals' folder ───────────────────────►

`figures` turns what an observer hears into metrics, `service` fetches it and serves it
over HTTP. An endpoint with `[metrics] listen` runs it as a child of its root process
(`__main__`), beside the three services: nothing waits for it, and the endpoint goes on
when it cannot run. `actors metrics` does the same from outside.
"""
