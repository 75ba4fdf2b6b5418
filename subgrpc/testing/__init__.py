"""What authors of drivers and embedders test with: fakes and conformance kits."""
