"""What keeps a training from being prepared."""


class RecipeError(ValueError):
    """One line that says what is missing and how to give it."""
