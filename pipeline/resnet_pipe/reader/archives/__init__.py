"""Archives: image files inside tar files, which are decoded as those in folders are."""
