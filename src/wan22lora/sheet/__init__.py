"""The contact sheet: a page on which a person sees every picture as it will train."""
