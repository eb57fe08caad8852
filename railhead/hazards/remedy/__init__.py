"""How does a revision read without what blocks? Its own file, written anew by the planner of autogenerate."""
