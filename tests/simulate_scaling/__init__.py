"""How strategies answer a trace of tasks: real machines, simulated jobs and workers.

    python -m tests.simulate_scaling TRACE [--svg FILE] [--kinds simple auto ...]

runs the trace through interchange, strategy and provider as they are, on a clock of its
own, and tells of each kind of strategy how many blocks it started, how busy its workers
were and how long tasks waited; beside them, Parsl's rules. `stage` is the endpoint,
`parsl` the rules that it is compared with, `traces` makes and reads traces.
"""
