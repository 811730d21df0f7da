"""Other releases of data sets, turned into the files that the tasks read."""
