"""Export a model to files for other programs: Keras, SavedModel, LiteRT, ONNX."""
