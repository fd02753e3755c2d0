"""avstore features cluster: groups of source videos, for streams without classes."""

from dataclasses import asdict
from typing import Annotated

import typer

from avstore.pipelines.cli.options import AddressOption
from avstore.pipelines.cli.query_output import OutputOption, QueryOutput


def cluster_features(
    feature: Annotated[str, typer.Argument(help="Derived feature to cluster by.")],
    dataset: Annotated[str, typer.Option(help="Dataset of the videos.")],
    clusters: Annotated[int, typer.Option(min=1, help="Number of clusters.")] = 8,
    seed: Annotated[int, typer.Option(help="Of k-means.")] = 0,
    output: OutputOption = None,
    store: AddressOption = "data",
) -> None:
    """Group the source videos of a dataset by k-means of a feature: a table of video and group.

    As a CSV it is the `table` of a stream of kind video-groups, one task a cluster.
    """
    import duckdb
    import pyarrow as pa

    from avstore.manifests.library import open_store
    from avstore.pipelines.features.clusters import cluster_videos

    with open_store(store) as opened:
        found = cluster_videos(opened, dataset, feature, clusters, seed)
    with duckdb.connect() as con:
        con.register("videos", pa.Table.from_pylist([asdict(each) for each in found]))
        QueryOutput(as_json=False, output=output).run(con, "FROM videos")
