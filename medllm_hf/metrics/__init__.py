"""Each folder here is one Hub Space that `evaluate.load` takes; none imports anything else of this package."""
