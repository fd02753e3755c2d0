"""Where media comes from: a folder, an archive, an address, YouTube."""
