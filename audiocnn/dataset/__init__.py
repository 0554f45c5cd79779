"""The recordings that a model learns from: listed, looked over, divided, and synthesised to try things on."""
