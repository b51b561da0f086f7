"""The weight files that training needs: which they are, where they lie, fetching and checking them."""
