"""Moving a database from one revision to another."""
