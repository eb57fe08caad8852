"""The sample application makes room for one's own: `make new-app NAME=shop`. This folder goes with the sample."""
