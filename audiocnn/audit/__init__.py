"""What is wrong with recordings before anything is learned from them: copies, leaks, groups that are missing."""
