"""The commands of `avstore`, one file each."""
