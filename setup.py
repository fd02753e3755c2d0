"""Build the package, unless the links in avstore/ to its folders are lost."""

from pathlib import Path

from setuptools import setup

for name in ("datasets", "manifests", "pipelines", "train"):
    if not (Path("avstore") / name).is_dir():
        raise SystemExit(
            f"avstore/{name} is not a folder: the checkout or archive lost its symbolic links; "
            "clone with git clone -c core.symlinks=true, or unpack with tar or unzip"
        )

setup()
