"""Two systems that a judge model compares on the same cases."""
