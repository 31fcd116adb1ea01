"""What commands share that read all of a namespace."""
