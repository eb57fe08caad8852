"""How does the engine come into an application that exists? What is there is looked at, never imported, and kept when it is replaced."""
