"""A reproducibility layer for machine learning on Snakemake."""

__version__ = "0.1.0"
