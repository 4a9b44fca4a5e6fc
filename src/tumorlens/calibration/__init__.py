"""Fits a model file to a site from the site's own scans, and writes a new one."""
