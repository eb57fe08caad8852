"""Where is this database, and what happened to it before?"""
