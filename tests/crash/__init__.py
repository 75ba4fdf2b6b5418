"""`make crash`: servers and supervisors are killed again and again; then everything is counted."""
