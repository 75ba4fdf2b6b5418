"""What authors of drivers, and of software that embeds subgrpc, test with: public and stable.

- `subgrpc.testing.contract`: the suite that every driver passes (docs/drivers.md).
- `subgrpc.testing.stores`: the suite that every artifact store passes (docs/artifact-stores.md).
- `subgrpc.testing.fake`: a backend in memory that does what a test tells it to.
- `subgrpc.testing.simulated`: one that does the work of the contract's programs by itself.
- `subgrpc.testing.clock`: an event loop in which waiting costs nothing.
"""
