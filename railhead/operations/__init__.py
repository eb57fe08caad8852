"""The verbs that migrations may call."""
