#!/usr/bin/env python3
"""Writes what scikit-learn and SciPy say of small problems, for the tests of `pinhole-evaluate`.

usage: golden.py FILE            such as host-tools/evaluate/tests/golden/sklearn.json

Needs scikit-learn 1.9 and what it brings (from PyPI). Features are drawn and rounded to f32, so that Rust begins with the
same numbers. Two functions of scikit-learn's t-SNE are private; they are what its public class calls.
"""

import json
import sys

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import log_softmax, softmax
from scipy.spatial.distance import squareform
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold._t_sne import _joint_probabilities, _kl_divergence
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    normalized_mutual_info_score,
    pairwise_distances,
    top_k_accuracy_score,
)
from sklearn.neighbors import KNeighborsClassifier

RNG = np.random.default_rng(11)


def unit_rows(labels, width, spread):
    """Unit vectors around one direction a class, in f32."""
    centres = RNG.standard_normal((max(labels) + 1, width))
    x = centres[labels] + spread * RNG.standard_normal((len(labels), width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def logistic(x, y):
    """Coefficients at three strengths of the penalty; ours is 1 / (C n)."""
    cases = []
    for l2 in [1e-1, 1e-3, 1e-5]:
        model = LogisticRegression(C=1 / (l2 * len(y)), tol=1e-12, max_iter=100000).fit(x.astype(np.float64), y)
        cases.append({"l2": l2, "weights": np.column_stack([model.coef_, model.intercept_]).tolist()})
    return cases


def knn(x, y, queries, k, temperature):
    model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / temperature))
    return model.fit(x.astype(np.float64), y).predict_proba(queries.astype(np.float64)).tolist()


def calibration(logits, y):
    probabilities = softmax(logits, axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    found = {}
    for strategy in ["uniform", "quantile"]:
        accuracy, mean = calibration_curve(right, confidence, n_bins=15, strategy=strategy)
        edges = np.linspace(0, 1, 16) if strategy == "uniform" else np.percentile(confidence, np.linspace(0, 100, 16))
        counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=15)
        counts = counts[counts > 0]
        ece = float(np.sum(counts * np.abs(accuracy - mean)) / len(y))
        found[strategy] = {"accuracy": accuracy.tolist(), "confidence": mean.tolist(), "ece": ece}
    return found


def temperature(logits, y):
    def nll(log_t):
        return -log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(y)), y].mean()

    best = minimize_scalar(nll, bracket=(-2, 2), tol=1e-12)
    return {"temperature": float(np.exp(best.x)), "nll": float(best.fun)}


def tsne(x, perplexity):
    """Neighbourhoods, and divergence and gradient of a map that is not yet good."""
    p = _joint_probabilities(pairwise_distances(x, squared=True), perplexity, verbose=0)
    at = RNG.standard_normal((len(x), 2))
    divergence, gradient = _kl_divergence(at.ravel(), p, 1, len(x), 2)
    return {
        "perplexity": perplexity,
        "affinities": squareform(p).ravel().tolist(),
        "at": at.tolist(),
        "divergence": float(divergence),
        "gradient": gradient.reshape(-1, 2).tolist(),
    }


def retrieval(x):
    """Ranks of right answers between 30 pictures and 80 captions; caption 0 has two pictures, picture 29 no caption."""
    cosines = x[:30].astype(np.float64) @ x[30:110].T.astype(np.float64)
    pairs = [(caption % 29, caption) for caption in range(80)] + [(5, 0)]
    right = np.zeros(cosines.shape, dtype=bool)
    right[tuple(np.transpose(pairs))] = True

    def best(cosines, right):
        order = np.argsort(-cosines, axis=1)
        hits = np.take_along_axis(right, order, axis=1)
        return hits.argmax(axis=1)[hits.any(axis=1)]

    text, image = best(cosines, right), best(cosines.T, right.T)
    shares = [[float((ranks < k).mean()) for k in (1, 5, 10)] for ranks in (text, image)]
    return {"pairs": pairs, "text": text.tolist(), "image": image.tolist(), "recall": shares}


def main(path):
    y = RNG.integers(0, 4, 120)
    x = unit_rows(y, 6, 1.2)
    train, test = slice(0, 80), slice(80, 120)
    logits = (3 * x @ RNG.standard_normal((6, 4)) + 4 * np.eye(4)[y]).astype(np.float64)
    clusters = np.where(RNG.random(120) < 0.6, y, RNG.integers(0, 5, 120))
    predictions = logits.argmax(axis=1)
    cosines = x.astype(np.float64) @ x.T.astype(np.float64)
    pairs = np.argwhere(np.triu(cosines >= 0.95, 1))
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(120, 120))
    count, components = connected_components(graph, directed=False)
    groups = sorted(np.flatnonzero(components == c).tolist() for c in range(count) if np.sum(components == c) > 1)
    pca = PCA(3, svd_solver="full").fit(x.astype(np.float64))
    intervals = []
    for hits, of in [(0, 10), (3, 10), (10, 10), (7403, 10000), (57, 408)]:
        interval = binomtest(hits, of).proportion_ci(method="wilson")
        intervals.append({"hits": hits, "of": of, "low": interval.low, "high": interval.high})
    golden = {
        "rows": x.tolist(),
        "labels": y.tolist(),
        "logits": logits.tolist(),
        "clusters": clusters.tolist(),
        "logistic": logistic(x[train], y[train]),
        "knn": {"k": 7, "temperature": 0.07, "votes": knn(x[train], y[train], x[test], 7, 0.07)},
        "top": {str(k): float(top_k_accuracy_score(y, logits, k=k)) for k in [1, 2, 3]},
        "confusion": confusion_matrix(y, predictions).tolist(),
        "mean_per_class": float(balanced_accuracy_score(y, predictions)),
        "nmi": float(normalized_mutual_info_score(y, clusters)),
        "calibration": calibration(logits, y),
        "temperature": temperature(logits, y),
        "retrieval": retrieval(x),
        "duplicates": {"bound": 0.95, "pairs": pairs.tolist(), "groups": groups},
        "pca": {
            "variances": pca.explained_variance_.tolist(),
            "total": float(np.var(x.astype(np.float64), axis=0, ddof=1).sum()),
            "coordinates": pca.transform(x.astype(np.float64)).tolist(),
        },
        "tsne": tsne(x[:50].astype(np.float64), 8.0),
        "wilson": intervals,
    }
    with open(path, "w") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
