"""What stores and keystores share: clients of datastores, and what their errors mean."""
