"""What authors of drivers, and of software that embeds subgrpc, test with: public and stable.

- `subgrpc.testing.fake`: a backend in memory that does what a test tells it to.
- `subgrpc.testing.contract`: the suite that every driver passes.
"""
