"""Show an endpoint on the screen: a client of `actors` like any other.

Nothing but this docstring lives here yet; the dashboard is to come.
"""
