"""What joins the engine to other people's frameworks. Nothing in the engine knows it."""
