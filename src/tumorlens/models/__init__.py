"""Networks. Each returns an :class:`~tumorlens.models.output.Evidence`."""
