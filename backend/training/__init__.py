"""The built-in trainer: LoRAs for Stable Diffusion 1.x, by the arguments of sd-scripts' `train_network.py`."""
