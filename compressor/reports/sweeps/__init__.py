"""Methods at several budgets and seeds: made one after the other or on Ray, kept, compared."""
