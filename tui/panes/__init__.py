"""The screens, a file each: a pane gets a view and draws it."""
