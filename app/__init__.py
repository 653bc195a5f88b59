"""The front ends: the Gradio pages and the notebook widgets."""
