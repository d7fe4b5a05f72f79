"""Run folders: what a run asked, every raw output, and the figures that follow from them."""
