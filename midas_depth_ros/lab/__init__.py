"""What starts processes and measures: demonstration, drives, speed; and how processes are kept."""
