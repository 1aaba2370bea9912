"""Layer 2: programs as data. A traced function is a Graph of operators; passes rewrite it; it prints as Python that runs."""
