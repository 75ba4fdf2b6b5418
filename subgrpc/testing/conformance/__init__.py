"""The themes of the driver contract, a module each: see `subgrpc.testing.contract`."""
