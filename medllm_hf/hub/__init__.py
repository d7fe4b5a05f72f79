"""Cards and repository folders for the Hub."""
