"""What a person looks at of a parsing network: timelines, classes, thresholds, learning curves."""
