"""Find problems in recordings before training: duplicates, leaks, missing groups, shortcuts, wrong labels."""
