"""The code that does an I/O node's work: one module per node type, each a handler from a call to an outcome."""
