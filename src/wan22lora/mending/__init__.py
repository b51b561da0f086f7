"""What a check finds and a program can put right: pictures that lie on their side, captions that are shifted."""
