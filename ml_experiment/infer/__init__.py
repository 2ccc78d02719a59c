"""A step from an unmodified script, by reading it; `infer.step` is the way in."""
