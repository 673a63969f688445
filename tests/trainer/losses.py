#!/usr/bin/env python3
"""Writes values and gradients of every loss of `pinhole_trainer::loss`, computed by PyTorch in double precision.

usage: losses.py FILE            such as host-tools/trainer/tests/golden/losses.safetensors

Needs torch 2.15, open_clip_torch 3.3, safetensors and numpy (from PyPI). With pytorch-metric-learning 2.9 beside them
the definitions of supervised contrast and of mined triplets are compared with that library's as well; the last line
says whether they were.

Tensors of the file, for each CASE = FUNCTION[/VARIANT]/SHAPE:
  CASE:NAME      an argument: f32 matrices, i32 labels, f32 settings of one element
  CASE:d.NAME    the gradient of the loss by that argument; arguments without one are constants
  CASE:loss      the loss, f64
Arguments are drawn in f32, so that Rust and PyTorch begin with the same numbers.
"""

import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, CoCaLoss, DistillClipLoss, SigLipLoss
from safetensors.numpy import save_file

try:
    from pytorch_metric_learning import distances, losses, miners, reducers
except ImportError:
    losses = None

RNG = np.random.default_rng(20)
OUT = {}


def rows(count, width, length=None):
    """Random rows; of that length where one is given, as the encoder's last step makes them."""
    x = RNG.standard_normal((count, width))
    if length:
        x *= length / np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32)


def rows_apart(count, width):
    """Numbers of which no two are near, so that finite differences do not change which is the least."""
    x = np.linspace(-1.5, 1.5, count * width)
    return RNG.permutation(x).reshape(count, width).astype(np.float32)


def scalar(value):
    return np.full((1, 1), value, np.float32)


def case(name, loss, learned, constant=None, **settings):
    """Runs `loss` on the learned and the constant matrices and on the settings, in f64, and keeps all."""
    leaves = {key: torch.tensor(x, dtype=torch.float64, requires_grad=True) for key, x in learned.items()}
    fixed = {key: torch.tensor(x, dtype=torch.float64) for key, x in (constant or {}).items()}
    value = loss(**leaves, **fixed, **settings)
    value.backward()
    assert torch.isfinite(value), name
    for key, x in {**learned, **(constant or {})}.items():
        OUT[f"{name}:{key}"] = x
    for key, leaf in leaves.items():
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        OUT[f"{name}:d.{key}"] = gradient.numpy().astype(np.float32)
    for key, x in settings.items():
        is_list = isinstance(x, list)
        OUT[f"{name}:{key}"] = np.array(x, np.int32) if is_list else np.array([x], np.float32)
    OUT[f"{name}:loss"] = np.array([value.item()], np.float64)


def same(found, expected):
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12), (found, expected)


# Scores: larger is more alike.


def score(kind, a, b, weight=None):
    difference = a[:, None, :] - b[None, :, :] if kind in ("l1", "l2", "squared_l2") else None
    return {
        "dot": lambda: a @ b.T,
        "cosine": lambda: F.cosine_similarity(a[:, None, :], b[None, :, :], dim=2),
        "l1": lambda: -difference.abs().sum(2),
        "l2": lambda: -torch.where((q := difference.square().sum(2)) == 0, 1.0, q).sqrt() * (q != 0),
        "squared_l2": lambda: -difference.square().sum(2),
        "bilinear": lambda: a @ weight @ b.T,
    }[kind]()


SCORES = ("dot", "cosine", "l1", "l2", "squared_l2", "bilinear")


# Contrast.


def contrastive(a, b, same, margin):
    distance = (a - b).norm(dim=1)
    y = torch.tensor(same, dtype=torch.float64)
    return (y * distance**2 / 2 + (1 - y) * F.relu(margin - distance) ** 2 / 2).mean()


def triplet_l2(anchors, positives, negatives, margin):
    return torch.nn.TripletMarginLoss(margin=margin, p=2, eps=0)(anchors, positives, negatives)


def triplet_squared(anchors, positives, negatives, margin):
    def distance(x, y):
        return (x - y).square().sum(1)

    return torch.nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=margin)(
        anchors, positives, negatives
    )


def triplet_cosine(anchors, positives, negatives, margin):
    def distance(x, y):
        return -F.cosine_similarity(x, y)

    return torch.nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=margin)(
        anchors, positives, negatives
    )


def mined(kind, mining):
    """The triplet loss of a batch: triplets by plain loops, and by pytorch_metric_learning's miners."""

    def loss(embeddings, labels, margin):
        s = score(kind, embeddings, embeddings)
        batch = range(len(labels))
        found = []
        for a in batch:
            positives = [p for p in batch if p != a and labels[p] == labels[a]]
            negatives = [n for n in batch if labels[n] != labels[a]]
            if mining == "all":
                found += [(a, p, n) for p in positives for n in negatives]
            elif mining == "hard" and positives and negatives:
                found.append((a, min(positives, key=lambda p: s[a, p]), max(negatives, key=lambda n: s[a, n])))
            elif mining == "semi_hard":
                for p in positives:
                    semi = [n for n in negatives if s[a, p] - margin < s[a, n] < s[a, p]]
                    found += [(a, p, max(semi, key=lambda n: s[a, n]))] if semi else []
        assert len(found) > 2, "a case without triplets tells nothing"
        a, p, n = (list(part) for part in zip(*found))
        value = F.relu(margin - s[a, p] + s[a, n]).mean()
        if losses:
            same(value, library_triplets(kind, mining, embeddings, labels, margin))
        return value

    return loss


def rows_for_mining(n, d, margin):
    """Unit rows whose triplets stay the same when rows move by a little, as they do for finite differences."""
    while True:
        x = rows(n, d, 1)
        distances_of = [np.linalg.norm(x[:, None] - x[None], axis=2) ** power for power in (1, 2)]
        pairs = [(a, p, q) for a in range(n) for p in range(n) for q in range(p) if a not in (p, q)]
        gaps = np.array([abs(s[a, p] - s[a, q]) for s in distances_of for a, p, q in pairs])
        if min(gaps.min(), np.abs(gaps - margin).min()) > 0.008:
            return x


def library_triplets(kind, mining, embeddings, labels, margin):
    distance = distances.LpDistance(normalize_embeddings=False, p=2, power=2 if kind == "squared_l2" else 1)
    labels = torch.tensor(labels)
    if mining == "hard":
        indices = miners.BatchHardMiner(distance=distance)(embeddings, labels)
    else:
        types = {"all": "all", "semi_hard": "semihard"}
        width = 1e9 if mining == "all" else margin
        miner = miners.TripletMarginMiner(margin=width, type_of_triplets=types[mining], distance=distance)
        indices = miner(embeddings, labels)
    if mining == "semi_hard":
        # The library keeps every semi-hard negative of a pair, FaceNet the nearest.
        matrix, nearest = distance(embeddings), {}
        for a, p, n in zip(*(part.tolist() for part in indices)):
            if (a, p) not in nearest or matrix[a, n] < matrix[a, nearest[a, p]]:
                nearest[a, p] = n
        parts = zip(*((a, p, n) for (a, p), n in nearest.items()))
        indices = tuple(torch.tensor(part) for part in parts)
    function = losses.TripletMarginLoss(margin=margin, distance=distance, reducer=reducers.MeanReducer())
    return function(embeddings, labels, indices)


def nce(data, noise, log_normaliser, log_noise_of_data, log_noise_of_noise):
    ratio = len(noise) / len(data)
    odds = [
        s - log_normaliser - log_noise - math.log(ratio)
        for s, log_noise in ((data, log_noise_of_data), (noise, log_noise_of_noise))
    ]
    yes = F.binary_cross_entropy_with_logits(odds[0], torch.ones_like(odds[0]), reduction="sum")
    no = F.binary_cross_entropy_with_logits(odds[1], torch.zeros_like(odds[1]), reduction="sum")
    return (yes + no) / len(data)


def info_nce_soft(logits, targets):
    return F.cross_entropy(logits, targets)


def info_nce(kind, negatives_are):
    def loss(queries, positives, logit_scale, negatives=None, weight=None):
        if negatives_are == "in_batch":
            logits = logit_scale * score(kind, queries, positives, weight)
            return F.cross_entropy(logits, torch.arange(len(queries)))
        right = score(kind, queries, positives, weight).diagonal()[:, None]
        if negatives_are == "shared":
            others = score(kind, queries, negatives, weight)
        else:
            each = negatives.reshape(len(queries), -1, negatives.shape[1])
            others = torch.cat([score(kind, q[None], n, weight) for q, n in zip(queries, each)])
        logits = logit_scale * torch.cat([right, others], dim=1)
        return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long))

    return loss


def blockwise(kind):
    def loss(a, b, logit_scale):
        logits, labels = logit_scale * score(kind, a, b), torch.arange(len(a))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    return loss


def sup_con(form):
    def loss(embeddings, logit_scale, labels):
        logits = logit_scale * embeddings @ embeddings.T
        labels = torch.tensor(labels)
        itself = torch.eye(len(labels), dtype=torch.bool)
        positive = (labels[:, None] == labels[None]) & ~itself
        anchors = positive.any(1)
        everything = logits.masked_fill(itself, -math.inf).logsumexp(1)
        if form == "outside":
            right = (logits * positive).sum(1)[anchors] / positive.sum(1)[anchors]
        else:
            right = logits.masked_fill(~positive, -math.inf).logsumexp(1)[anchors]
            right = right - positive.sum(1)[anchors].log()
        value = (everything[anchors] - right).mean()
        if losses and form == "outside":
            distance = distances.DotProductSimilarity(normalize_embeddings=False)
            library = losses.SupConLoss(temperature=1 / logit_scale, distance=distance)(embeddings, labels)
            # The library divides by the number of positives and 2e-16.
            assert torch.allclose(value, library, rtol=1e-9), (value, library)
        return value

    return loss


def clip(images, texts, logit_scale):
    return ClipLoss()(images, texts, logit_scale)


def siglip(images, texts, logit_scale, logit_bias):
    return SigLipLoss()(images, texts, logit_scale, logit_bias)


def group(images, texts, logit_scale, targets):
    return F.cross_entropy(logit_scale * images @ texts.T, targets)


def energy(form):
    def loss(energies, answers, margin=None, beta=None):
        index = torch.tensor(answers)[:, None]
        right = energies.gather(1, index)[:, 0]
        wrong = energies.scatter(1, index, math.inf).min(1).values
        costs = {
            "perceptron": lambda: right - energies.min(1).values,
            "hinge": lambda: F.relu(margin + right - wrong),
            "log": lambda: F.softplus(right - wrong),
            "square_square": lambda: right**2 + F.relu(margin - wrong) ** 2,
            "free_energy": lambda: right + (-beta * energies).logsumexp(1) / beta,
        }
        return costs[form]().mean()

    return loss


def transform(originals, transformed, first, first_bias, second, second_bias, quarters, flips):
    hidden = F.relu(torch.cat([originals, transformed], dim=1) @ first + first_bias)
    logits = hidden @ second + second_bias
    of_rotation = F.cross_entropy(logits[:, :4], torch.tensor(quarters))
    return of_rotation + F.cross_entropy(logits[:, 4:], torch.tensor(flips))


# Captions.


def caption(logits, targets, padding, label_smoothing):
    targets = torch.tensor(targets)
    return F.cross_entropy(logits, targets, ignore_index=int(padding), label_smoothing=label_smoothing)


def coca(images, texts, logit_scale, logits, targets, padding, contrastive_weight, caption_weight):
    function = CoCaLoss(caption_weight, contrastive_weight, pad_id=int(padding))
    return sum(function(images, texts, logits[None], torch.tensor(targets)[None], logit_scale))


# Distillation.


def feature(form):
    def loss(student, teacher, projection=None):
        student = student if projection is None else student @ projection
        if form == "mean_squared":
            return F.mse_loss(student, teacher)
        return (1 - F.cosine_similarity(student, teacher)).mean()

    return loss


def affinity(images, texts, logit_scale, t_images, t_texts, t_logit_scale):
    found, wanted = logit_scale * images @ texts.T, t_logit_scale * t_images @ t_texts.T
    value = 0
    for x, t in ((found, wanted), (found.T, wanted.T)):
        value = value + F.kl_div(x.log_softmax(1), t.softmax(1), reduction="batchmean") / 2
    # open_clip's is the cross-entropy: the entropy of the teacher more.
    function = DistillClipLoss()
    _, cross = function(images, texts, logit_scale, t_images, t_texts, t_logit_scale)
    _, entropy = function(t_images, t_texts, t_logit_scale, t_images, t_texts, t_logit_scale)
    same(value, cross - entropy)
    return value


def interactive(images, texts, logit_scale, t_images, t_texts, t_logit_scale):
    labels = torch.arange(len(images))
    of_images = F.cross_entropy(logit_scale * images @ t_texts.T, labels)
    return (of_images + F.cross_entropy(logit_scale * texts @ t_images.T, labels)) / 2


def clip_kd(feature_weight, relational_weight, interactive_weight, **towers):
    t_images, t_texts = towers["t_images"], towers["t_texts"]
    features = F.mse_loss(towers["images"], t_images) + F.mse_loss(towers["texts"], t_texts)
    return (
        feature_weight * features
        + relational_weight * affinity(**towers)
        + interactive_weight * interactive(**towers)
    )


def relation(student, teacher):
    def shares(x):
        return F.normalize(x @ x.T, dim=1)

    return (shares(student) - shares(teacher)).pow(2).sum() / len(student) ** 2


def contrastive_distill(negatives_are):
    def loss(student, teacher, logit_scale, negatives=None):
        return info_nce("dot", negatives_are)(student, teacher, logit_scale, negatives)

    return loss


def crd(student, teacher, negatives, logit_scale, population):
    each = negatives.reshape(len(student), -1, student.shape[1])
    noise = each.shape[1] / population
    right = (logit_scale * (student * teacher).sum(1, keepdim=True)).exp()
    wrong = (logit_scale * (each @ student[:, :, None])[:, :, 0]).exp()
    h_right, h_wrong = right / (right + noise), wrong / (wrong + noise)
    return -(h_right.log().sum() + (1 - h_wrong).log().sum()) / len(student)


def logit_distill(student, temperature, **teachers):
    wanted = torch.stack([(v / temperature).softmax(1) for v in teachers.values()]).mean(0)
    found = (student / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(found, wanted, reduction="batchmean")


def towers(pairs, width, scale):
    return {"images": rows(pairs, width, 1), "texts": rows(pairs, width, 1), "logit_scale": scalar(scale)}


def teacher_towers(pairs, width, scale):
    return {f"t_{key}": x for key, x in towers(pairs, width, scale).items()}


def contrast_cases(n, d):
    shape = f"{n}x{d}"
    lists = {"same": [i % 2 for i in range(n)], "labels": [i % 3 for i in range(n)]}
    a, b, c = rows(n, d, 1), rows(n, d, 1), rows(n, d, 1)
    case(f"contrastive_loss/{shape}", contrastive, {"a": a, "b": b}, same=lists["same"], margin=1.7)
    three = {"anchors": a, "positives": b, "negatives": c}
    case(f"triplet_loss/l2/{shape}", triplet_l2, three, margin=0.6)
    case(f"triplet_loss/squared_l2/{shape}", triplet_squared, three, margin=0.9)
    case(f"triplet_loss/cosine/{shape}", triplet_cosine, three, margin=0.4)
    noise, log_noise = rows(3 * n, 1), rows(3 * n, 1)
    learned = {"data": rows(n, 1), "noise": noise, "log_normaliser": scalar(0.3)}
    constant = {"log_noise_of_data": rows(n, 1), "log_noise_of_noise": log_noise}
    case(f"nce_loss/{shape}", nce, learned, constant)
    targets = RNG.dirichlet(np.ones(d), n).astype(np.float32)
    case(f"info_nce/{shape}", info_nce_soft, {"logits": rows(n, d)}, {"targets": targets})
    for kind in SCORES:
        learned = {"queries": a, "positives": b, "logit_scale": scalar(3)}
        if kind == "bilinear":
            learned |= {"positives": rows(n, d + 1, 1), "weight": rows(d, d + 1)}
        case(f"info_nce_loss/in_batch_{kind}/{shape}", info_nce(kind, "in_batch"), learned)
    for negatives_are, count in (("shared", 5), ("own", 2 * n)):
        learned = {"queries": a, "positives": b, "negatives": rows(count, d, 1), "logit_scale": scalar(5)}
        case(f"info_nce_loss/{negatives_are}/{shape}", info_nce("dot", negatives_are), learned)
    for kind in ("l1", "l2", "squared_l2"):
        learned = {"a": rows(n, d, 1), "b": rows(n, d, 1), "logit_scale": scalar(2)}
        case(f"blockwise/{kind}/{shape}", blockwise(kind), learned)
    case(f"clip_loss/{shape}", clip, towers(n, d, 7))
    case(f"siglip_loss/{shape}", siglip, {**towers(n, d, 6), "logit_bias": scalar(-3)})
    targets = RNG.dirichlet(np.ones(4), n).astype(np.float32)
    learned = {**towers(n, d, 4), "texts": rows(4, d, 1)}
    case(f"group_loss/{shape}", group, learned, {"targets": targets})
    answers = [i % d for i in range(n)]
    settings = {"hinge": {"margin": 1.2}, "square_square": {"margin": 0.8}, "free_energy": {"beta": 1.7}}
    for form in ("perceptron", "hinge", "log", "square_square", "free_energy"):
        learned = {"energies": rows_apart(n, d)}
        case(f"energy_loss/{form}/{shape}", energy(form), learned, answers=answers, **settings.get(form, {}))
    if n > 3:
        for form in ("outside", "inside"):
            learned = {"embeddings": a, "logit_scale": scalar(5)}
            case(f"sup_con_loss/{form}/{shape}", sup_con(form), learned, labels=lists["labels"])
        learned = {"embeddings": rows_for_mining(n, d, 0.5)}
        for mining in ("all", "semi_hard", "hard"):
            for kind in ("l2", "squared_l2"):
                name = f"triplet_loss_in_batch/{mining}_{kind}/{shape}"
                case(name, mined(kind, mining), learned, labels=lists["labels"], margin=0.5)


def other_cases(n, d):
    shape = f"{n}x{d}"
    learned = {"originals": rows(n, d, 1), "transformed": rows(n, d, 1)}
    learned |= {"first": rows(2 * d, 5, 1), "first_bias": rows(1, 5, 1)}
    learned |= {"second": rows(5, 6, 1), "second_bias": rows(1, 6, 1)}
    lists = {"quarters": [(3 * i) % 4 for i in range(n)], "flips": [i % 2 for i in range(n)]}
    case(f"transform_loss/{shape}", transform, learned, **lists)
    targets = [(5 * i) % d for i in range(n)]
    case(f"caption_loss/{shape}", caption, {"logits": rows(n, d)}, targets=targets, padding=d - 1, label_smoothing=0.0)
    name = f"caption_loss/smoothed/{shape}"
    case(name, caption, {"logits": rows(n, d)}, targets=targets, padding=d - 1, label_smoothing=0.1)
    learned = {**towers(n, d, 5), "logits": rows(n, d)}
    weights = {"contrastive_weight": 1.0, "caption_weight": 2.0}
    case(f"coca_loss/{shape}", coca, learned, targets=targets, padding=d - 1, **weights)
    for form in ("mean_squared", "cosine"):
        learned, teacher = {"student": rows(n, d)}, {"teacher": rows(n, d)}
        case(f"feature_loss/{form}/{shape}", feature(form), learned, teacher)
        learned |= {"projection": rows(d, 3)}
        teacher = {"teacher": rows(n, 3)}
        case(f"feature_loss/{form}_projected/{shape}", feature(form), learned, teacher)
    both = towers(n, d, 6), teacher_towers(n, d, 9)
    case(f"affinity_loss/{shape}", affinity, towers(n, d, 6), teacher_towers(n, d + 2, 9))
    case(f"interactive_loss/{shape}", interactive, *both)
    weights = {"feature_weight": 20.0, "relational_weight": 1.0, "interactive_weight": 0.5}
    case(f"clip_kd_loss/{shape}", clip_kd, *both, **weights)
    learned, teacher = {"student": rows(n, d, 1), "logit_scale": scalar(4)}, {"teacher": rows(n, d, 1)}
    case(f"contrastive_distill_loss/in_batch/{shape}", contrastive_distill("in_batch"), learned, teacher)
    for negatives_are, count in (("shared", 5), ("own", 2 * n)):
        teacher = {**teacher, "negatives": rows(count, d, 1)}
        name = f"contrastive_distill_loss/{negatives_are}/{shape}"
        case(name, contrastive_distill(negatives_are), learned, teacher)
    case(f"crd_loss/{shape}", crd, learned, teacher, population=50.0)
    teachers = {"first": rows(n, d), "second": rows(n, d)}
    case(f"logit_distill_loss/{shape}", logit_distill, {"student": rows(n, d)}, teachers, temperature=3.0)


def relation_cases(n, d):
    case(f"relation_loss/{n}x{d}", relation, {"student": rows(n, d)}, {"teacher": rows(n, d + 2)})


def main():
    shapes = ((1, 4), (3, 5), (7, 12))
    for n, d in shapes:
        contrast_cases(n, d)
        other_cases(n, d)
    for n, d in shapes:
        relation_cases(n, d)
    save_file(OUT, sys.argv[1])
    cases = sum(key.endswith(":loss") for key in OUT)
    compared = "compared" if losses else "not installed, nothing compared"
    print(f"{cases} cases; pytorch_metric_learning: {compared}")


if __name__ == "__main__":
    main()
