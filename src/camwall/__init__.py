"""Walls, certificates of blindness and saliency methods that see through them."""
