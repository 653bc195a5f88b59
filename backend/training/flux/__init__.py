"""FLUX.1 in the built-in trainer: what `flux_train_network.py` of sd-scripts does, on diffusers' transformer."""
