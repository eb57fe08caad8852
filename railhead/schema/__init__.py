"""What a schema is, what differs, and what somebody needs of it."""
