"""One answer for a series: slices in a stream, a rule over neighbours, findings in millimetres."""
