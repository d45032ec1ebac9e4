"""Rules from ONNX ops to TensorFlow's, one module per family. Importing them fills the table."""

from funtorch.tensorflow.rules import (
    activations,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    randomness,
    recurrent,
    reductions,
    resize,
    sequences,
    shapes,
    signal,
)
