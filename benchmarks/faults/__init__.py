"""The fault suite: everything a hostile or unlucky internet does to the service, on loopback.

``python -m benchmarks.faults`` runs it in full (about fifteen minutes), ``--quick`` as CI does.
"""
