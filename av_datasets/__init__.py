"""What each dataset is: one file a dataset."""
