"""Simulated histories of servers, a backend, and the network between them."""
