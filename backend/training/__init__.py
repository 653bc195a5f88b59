"""The built-in trainer: LoRAs for Stable Diffusion 1.x, 2.x and SDXL, by the arguments of sd-scripts' scripts."""
