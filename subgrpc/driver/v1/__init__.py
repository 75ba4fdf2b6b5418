"""Generated messages and stubs of package subgrpc.driver.v1: the driver contract."""
