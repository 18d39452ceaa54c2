"""What the engine does with the core, the store and the handlers: the shell around the pure part."""
