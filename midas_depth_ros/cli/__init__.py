"""Every command of `midas_depth`, one file each; what a command needs is imported when it runs."""
