"""A data set of your own: pictures and a table become a data root that search and retrain read."""
