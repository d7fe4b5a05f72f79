"""Published exams in their published layouts."""
