"""From a bare machine to one that trains: what is lacking, the steps that bring it, and carrying them out."""
