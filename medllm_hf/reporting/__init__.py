"""Reports as blocks, and the blocks as Markdown, HTML and pictures."""
