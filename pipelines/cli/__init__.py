"""The commands of `avstore`: one module per command or group of commands, named after it."""
