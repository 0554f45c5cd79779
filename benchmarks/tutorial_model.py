"""Make the model that `tutorial_predict` loads: the network of the instrument preset, ten labels. Argument: a file."""

import sys

from audiocnn.model import network, notation

net = notation.parse("32C3-32C3-64C3-128C3-P2-D5-128-64-*", input_shape=(13, 9, 1), n_labels=10)
model = network.build(net)
assert model.count_params() == 504_170
model.save(sys.argv[1])
