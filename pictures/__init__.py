"""Pictures read from whatever files there are, and turned into the region features that runs read."""
