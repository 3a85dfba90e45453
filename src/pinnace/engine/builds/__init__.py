"""Building images: the Dockerfile front end, the plan, the solver and its cache."""
