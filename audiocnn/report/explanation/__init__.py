"""The page of an explanation: one module a method, and what their sections share."""
