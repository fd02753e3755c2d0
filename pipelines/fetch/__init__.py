"""Fetch media from a folder, an archive, a URL or YouTube."""
