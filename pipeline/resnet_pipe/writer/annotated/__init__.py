"""Writers of annotated pictures: images and videos with their best labels drawn on."""
