"""The documentation site: ``make site`` builds it from the pages of the repository, as they stand."""
