"""Power sources: what each system and device tells of joules and watts."""
