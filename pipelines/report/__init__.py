"""What a person looks at: the report page and plots of task streams."""
