"""The PostgreSQL of development: started, shared and stopped without anybody's help."""
