"""From feature stores to trained networks: training data, fitting, checkpoints, devices, calibration."""
