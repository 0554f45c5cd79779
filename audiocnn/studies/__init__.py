"""Further trainings that answer a question about a model: leak gap, learning curve, open set."""
