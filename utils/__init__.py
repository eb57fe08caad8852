"""The front door of the application to the migration engine in `railhead/`."""
