"""The commands, one file each, and what they share. They import what they need when they run."""
