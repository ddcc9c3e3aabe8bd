"""A run of a recipe: options, settings, data, folder, stages, report."""
