"""Writers of annotated pictures: images and videos with their best labels, or boxes, drawn on."""
