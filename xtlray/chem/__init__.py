"""Chemistry: formulas to elemental fractions, and physical models of alloys."""
