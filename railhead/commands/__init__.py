"""What the command line can do beside migrating: one module a command, each returns a record."""
