"""Figure 3: how well a linear classifier tells audio from video embeddings, and their t-SNE."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Probe:
    """A modality classifier.

    Attributes:
        accuracy: Share of the test rows that it tells right, 0 to 1 (3A and 3B).
        train_accuracy: The same of the rows that it was fitted to.
        coefficients: Sizes of its coefficients, ascending [D] (3C).
    """

    accuracy: float
    train_accuracy: float
    coefficients: NDArray[np.float64]


def modality_probe(audio: Floats, video: Floats, order: NDArray[np.int64] | None = None) -> Probe:
    """Fit a logistic regression with L1 penalty on the first half of the clips, test on the rest.

    As in the released code, the first ⌊N / 2⌋ clips of both modalities are fitted; audio is class
    0, video class 1.

    Args:
        audio: Embeddings of one layer [N, D].
        video: Embeddings of the same layer and clips [N, D].
        order: Order in which the solver takes the rows to fit, a permutation of 2⌊N / 2⌋ (first all
            audio, then all video); it changes the result only within the solver's tolerance. The
            released code draws it. None keeps the rows as they are.

    Raises:
        ValueError: The shapes differ, or there are fewer than two clips.
    """
    if audio.shape != video.shape or audio.ndim != 2 or len(audio) < 2:
        raise ValueError(
            f"audio {audio.shape} and video {video.shape} are not embeddings [N, D] of the same "
            "clips, two or more"
        )
    half = len(audio) // 2
    train, test = (np.concatenate([audio[s], video[s]]) for s in (slice(half), slice(half, None)))
    is_video = np.repeat([0, 1], half)
    order = np.arange(2 * half) if order is None else order
    # scikit-learn writes the L1 penalty as l1_ratio=1.
    model = LogisticRegression(l1_ratio=1.0, solver="liblinear", random_state=0)
    model.fit(train[order], is_video[order])
    return Probe(
        float(model.score(test, np.repeat([0, 1], len(audio) - half))),
        float(model.score(train, is_video)),
        np.sort(np.abs(model.coef_[0])),
    )


@dataclass(frozen=True)
class Points:
    """Points of audio and video in one plane, float32 [points, 2] each."""

    audio: NDArray[np.float32]
    video: NDArray[np.float32]


def tsne(
    audio: Floats,
    video: Floats,
    every: int = 5,
    drawn: int = 500,
    iterations: int = 5000,
    seed: int | None = 0,
) -> Points:
    """Embed audio and video of one layer in one plane, as in figure 3D.

    Args:
        audio: Embeddings [N, D].
        video: Embeddings of the same clips [N, D].
        every: Take every such clip.
        drawn: Points to return of each modality, the first ones.
        iterations: Iterations of t-SNE.
        seed: Seed of t-SNE; None draws one, as the released code does.
    """
    own = audio[::every], video[::every]
    model = TSNE(perplexity=5, max_iter=iterations, init="pca", random_state=seed)
    plane = model.fit_transform(np.concatenate(own))
    count = len(own[0])
    return Points(plane[:count][:drawn], plane[count:][:drawn])
