"""Reports for people: the HTML page of a dataset, and plots of task streams."""
