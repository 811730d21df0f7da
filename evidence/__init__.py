"""Does a searched network beat random ones? Runs, trains and tests both under one recipe, and says so or not."""
