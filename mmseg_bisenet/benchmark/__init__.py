"""What ``mmseg-bisenet benchmark`` needs: methods, their times, memory and labels, and how they are shown."""
