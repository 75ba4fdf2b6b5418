"""What runs in a peer's virtual environment: its own client, behind one interface."""
