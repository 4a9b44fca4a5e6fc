"""The answer for one series as a self-contained page to read, keep and print."""

from tumorlens.seriesreport.page import series_report

__all__ = ["series_report"]
