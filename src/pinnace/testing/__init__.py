"""Fakes of every contract, contract suites, builders of records."""
