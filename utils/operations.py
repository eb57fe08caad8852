"""Which verbs change a busy table without stopping it?"""
