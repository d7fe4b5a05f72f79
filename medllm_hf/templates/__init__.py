"""Chat templates of the project, and the one rendering of messages that chat, training and evaluation share."""
