"""One PostgreSQL server: how it is reached, waited for, locked and watched. Knows no revision."""
