"""One module for each tool, the only one that imports it."""
