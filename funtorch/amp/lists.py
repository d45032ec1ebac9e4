"""Which ops autocast runs in which precision: PyTorch's lists, in the names of our ops."""

from __future__ import annotations

_PRODUCTS = [
    "matmul",
    "mm",
    "bmm",
    "mv",
    "addmm",
    "addmv",
    "addbmm",
    "baddbmm",
    "linear",
    "prelu",
    "_einsum",
    "linalg_multi_dot",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "_attention",
    "_attention_weights",
    "rnn_tanh_cell",
    "rnn_relu_cell",
    "lstm_cell",
    "gru_cell",
]

_LOSSES = [
    "_mse_loss",
    "_l1_loss",
    "_smooth_l1",
    "_huber",
    "_nll",
    "_kl_div",
    "_margin",
    "_poisson",
    "_multi_margin",
    "_multilabel_margin",
    "_bce_logits",
    "_soft_margin",
    "_cross_entropy",
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "triplet_margin_loss",
]

LOWER = {"cuda": frozenset([*_PRODUCTS, "addr"]), "cpu": frozenset(_PRODUCTS)}
"""Run in autocast's dtype."""

FULL = {
    "cuda": frozenset(
        [
            *_LOSSES,
            *[
                "pow",
                "acos",
                "asin",
                "cosh",
                "erfinv",
                "exp",
                "expm1",
                "log",
                "log10",
                "log1p",
                "log2",
                "reciprocal",
                "rsqrt",
                "sinh",
                "tan",
                "softplus",
                "_softmax",
                "_log_softmax",
                "layer_norm",
                "group_norm",
                "rms_norm",
                "logsumexp",
                "cumsum",
                "cumprod",
                "sum",
                "prod",
                "dist",
                "_vector_norm",
                "cosine_similarity",
                "_cdist",
                "pdist",
                "renorm",
            ],
        ]
    ),
    "cpu": frozenset(
        [
            *_LOSSES,
            *[
                "_bce",
                "avg_pool3d",
                "adaptive_avg_pool3d",
                "local_response_norm",
                "_sampled",
                "polar",
                "prod",
                "quantile",
                "nanquantile",
                "_cdist",
                "trace",
                "_cholesky_ex",
                "_linalg_qr",
                "_svd",
                "_svdvals",
                "_eigh",
                "_eig",
                "_lu_three",
                "_lu_factor",
                "_solve",
                "_inv",
                "_lstsq",
                "det",
                "_slogdet",
                "geqrf",
                "orgqr",
                "ormqr",
                "cholesky_inverse",
                "cholesky_solve",
                "matrix_exp",
                "_stft",
                "_istft",
                "_ctc",
                "_adaptive_max_pool3d",
            ],
            *(f"fft_{s}{n}" for s in ("fft", "ifft", "rfft", "irfft") for n in ("", "2", "n")),
        ]
    ),
}
"""Run in float32."""

WIDEST = {
    "cuda": frozenset(
        [
            "addcdiv",
            "addcmul",
            "atan2",
            "bilinear",
            "cross",
            "dot",
            "vdot",
            "_sampled",
            "_index_put",
            "scatter_add",
            "_tensordot",
            "cat",
            "stack",
        ]
    ),
    "cpu": frozenset(["cat", "stack", "_index_copy"]),
}
"""Run in the widest dtype among the inputs."""

REFUSED = {"cuda": {"_bce": "binary_cross_entropy"}, "cpu": {}}
"""Unsafe in half precision: an error says what to use instead."""
