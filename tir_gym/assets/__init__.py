"""Small data shipped inside the package."""
