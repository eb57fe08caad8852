"""Testing with Railhead: real databases at head for tens of milliseconds each, and the checks of a history.

`railhead.testing.plugin` is a plugin of pytest's, which finds it by itself where the package is installed: `migrated_database` and
`railhead_server`. `from railhead.testing.history import *` in a test module is every check of the migrations.
"""
