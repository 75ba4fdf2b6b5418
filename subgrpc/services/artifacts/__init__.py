"""Artifacts: what they are made of, and the use cases of ArtifactService about them."""
