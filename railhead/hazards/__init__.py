"""Would a revision hurt, and how does it read without what hurts?"""
