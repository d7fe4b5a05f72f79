"""Multiple-choice questions put to a model, and the accuracy that follows from its outputs."""
