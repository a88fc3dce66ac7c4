"""The embedded parts: a real broker, API, relay and worker as children of one command.

Nothing but a wheel is installed and nothing outlives the command: `reprise up` and `reprise demo`
start the same processes an operator starts one by one (see compose.yaml).
"""
