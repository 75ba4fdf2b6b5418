"""The driver `local`: tasks as processes of the server's own host."""
