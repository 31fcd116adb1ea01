"""What commands share whose work may run on several machines: as a workflow, on workers of this package."""
