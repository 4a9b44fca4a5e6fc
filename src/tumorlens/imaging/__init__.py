"""Reading, preprocessing, quality checks and synthetic images; import from the modules."""
