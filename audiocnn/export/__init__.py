"""A model as a file for other programs: Keras, SavedModel, LiteRT, ONNX."""
