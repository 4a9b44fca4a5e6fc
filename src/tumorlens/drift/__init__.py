"""Whether the scans of a service are still those its model was made for."""
