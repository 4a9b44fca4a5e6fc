"""TumorLens beside other ways to serve the same network, in one run on one machine."""
