"""Small networks of one kind a file, in the manners of different authors."""
