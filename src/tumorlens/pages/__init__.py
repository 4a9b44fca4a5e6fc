"""HTML pages and Markdown cards from templates."""
