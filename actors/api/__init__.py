"""What users call: the executor today; read `session` for what happens to a task."""
