"""Every option, declared once: name, type, default, unit, bounds, text. Files that set them."""
