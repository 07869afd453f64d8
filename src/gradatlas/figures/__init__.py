"""From tables to figures. Figures compute nothing: what they show stands in a table."""
