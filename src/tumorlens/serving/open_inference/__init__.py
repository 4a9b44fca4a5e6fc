"""The Open Inference Protocol (KServe v2) over the same model, threads and limits."""
