"""Jobs: answers for millions of scans, in shards, on the processes of a machine or on a cluster."""
