"""How things look: the answer to stdout, everything else to stderr."""
