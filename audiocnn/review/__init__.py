"""Review: a person labels stretches drawn from an archive; the answers tell how good a model is there."""
