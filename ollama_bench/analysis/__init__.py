"""What the stored numbers say: answers, caveats, comparisons."""
