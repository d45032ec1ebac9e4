"""Loss layers: each a row of a table, as in `simple`."""

from __future__ import annotations

from typing import Any

from funtorch.nn import functional as F
from funtorch.nn.module import Module
from funtorch.nn.simple import _bind
from funtorch.ops.nn_loss import legacy_reduction

BUFFERS = ("weight", "pos_weight")


class _Loss(Module):
    """What all losses have in common: a way to put the elements' losses together."""

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        old = (size_average, reduce)
        self.reduction = reduction if old == (None, None) else legacy_reduction(*old, reduction)


class _WeightedLoss(_Loss):
    """A loss with a weight for each class."""

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


def _loss(name: str, function: str, inputs: int = 2, **fields: Any) -> type[Module]:
    """A loss that calls nn.functional.<function>(*inputs, **fields)."""
    all_fields = {**fields, "reduction": fields.get("reduction", "mean")}
    hidden = ("size_average", "reduce")

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        values = _bind(name, all_fields, args, kwargs)
        old = values.get("size_average"), values.get("reduce")
        if values["reduction"] != "batchmean" or old != (None, None):
            values["reduction"] = (
                legacy_reduction(*old, values["reduction"])
                if (old != (None, None))
                else values["reduction"]
            )
        for field, value in values.items():
            if field in BUFFERS:
                self.register_buffer(field, value)
            elif field not in hidden:
                setattr(self, field, value)

    def forward(self: Any, *args: Any) -> Any:
        if len(args) != inputs:
            raise TypeError(f"{name}.forward() takes {inputs} inputs, got {len(args)}")
        given = {f: getattr(self, f) for f in all_fields if f not in hidden}
        return getattr(F, function)(*args, **given)

    return type(
        name,
        (_WeightedLoss if "weight" in fields else _Loss,),
        {
            "__init__": __init__,
            "forward": forward,
            "__module__": "funtorch.nn",
            "__doc__": f"`nn.functional.{function}` as a layer.",
        },
    )


OLD = {"size_average": None, "reduce": None}

L1Loss = _loss("L1Loss", "l1_loss", **OLD)
MSELoss = _loss("MSELoss", "mse_loss", **OLD)
SmoothL1Loss = _loss("SmoothL1Loss", "smooth_l1_loss", **OLD, reduction="mean", beta=1.0)


class HuberLoss(_loss("HuberLoss", "huber_loss", reduction="mean", delta=1.0)):  # type: ignore[misc]
    """`nn.functional.huber_loss` as a layer. Raises TypeError for a delta that is no real number."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if not isinstance(delta, float | int):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        super().__init__(reduction=reduction, delta=delta)


NLLLoss = _loss(
    "NLLLoss", "nll_loss", weight=None, size_average=None, ignore_index=-100, reduce=None
)
CrossEntropyLoss = _loss(
    "CrossEntropyLoss",
    "cross_entropy",
    weight=None,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
)
BCELoss = _loss("BCELoss", "binary_cross_entropy", weight=None, **OLD)
BCEWithLogitsLoss = _loss(
    "BCEWithLogitsLoss",
    "binary_cross_entropy_with_logits",
    weight=None,
    **OLD,
    reduction="mean",
    pos_weight=None,
)
KLDivLoss = _loss("KLDivLoss", "kl_div", **OLD, reduction="mean", log_target=False)
MarginRankingLoss = _loss("MarginRankingLoss", "margin_ranking_loss", 3, margin=0.0, **OLD)
HingeEmbeddingLoss = _loss("HingeEmbeddingLoss", "hinge_embedding_loss", margin=1.0, **OLD)
SoftMarginLoss = _loss("SoftMarginLoss", "soft_margin_loss", **OLD)
CosineEmbeddingLoss = _loss("CosineEmbeddingLoss", "cosine_embedding_loss", 3, margin=0.0, **OLD)
TripletMarginLoss = _loss(
    "TripletMarginLoss", "triplet_margin_loss", 3, margin=1.0, p=2.0, eps=1e-6, swap=False, **OLD
)
PoissonNLLLoss = _loss(
    "PoissonNLLLoss",
    "poisson_nll_loss",
    log_input=True,
    full=False,
    size_average=None,
    eps=1e-8,
    reduce=None,
)
GaussianNLLLoss = _loss(
    "GaussianNLLLoss", "gaussian_nll_loss", 3, full=False, eps=1e-6, reduction="mean"
)
MultiMarginLoss = _loss(
    "MultiMarginLoss",
    "multi_margin_loss",
    p=1,
    margin=1.0,
    weight=None,
    size_average=None,
    reduce=None,
)
MultiLabelMarginLoss = _loss("MultiLabelMarginLoss", "multilabel_margin_loss", **OLD)
MultiLabelSoftMarginLoss = _loss(
    "MultiLabelSoftMarginLoss", "multilabel_soft_margin_loss", weight=None, **OLD
)
CTCLoss = _loss("CTCLoss", "ctc_loss", 4, blank=0, reduction="mean", zero_infinity=False)
NLLLoss2d = NLLLoss
