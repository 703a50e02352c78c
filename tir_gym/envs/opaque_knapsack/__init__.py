"""A knapsack whose items are hidden behind budgeted inspections."""
