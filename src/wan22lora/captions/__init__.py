"""Captions: an instruction for whoever writes them, taking them over, editing them, and taking that back."""
