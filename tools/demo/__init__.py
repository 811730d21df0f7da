"""The built-in demo data: synthetic scenes with pictures, region features and texts for all three tasks."""
