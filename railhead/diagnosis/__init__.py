"""From PostgreSQL's error to what a person needs to know."""
