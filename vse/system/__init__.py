"""What every file needs and no paper names: errors, files, the terminal, settings, precision, the command line."""
