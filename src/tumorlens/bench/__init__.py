"""How fast is it here? Bytes to JSON over loopback, in process, and the forward pass alone."""
