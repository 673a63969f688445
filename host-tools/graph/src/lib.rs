//! The graph of a network: types, import from checkpoints and ONNX, passes, validation.
